"""Scores of shipped checkpoints, made by scripts that anyone can run again."""
