"""Tokenizers and generators under named protocols: one pass over the images, kept results, a leaderboard."""
