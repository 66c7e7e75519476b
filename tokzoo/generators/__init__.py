"""Models that make tokens: of each published one a folder, beside what they share."""
