"""Scores of tokenizers and generators under named protocols: one pass over the images, kept results, one leaderboard."""
