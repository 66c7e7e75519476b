"""Bricks with no opinion. Each takes numbers, never a config."""
