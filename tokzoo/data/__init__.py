"""Readers of image folders, and batches that depend on nothing but a seed and a step."""
