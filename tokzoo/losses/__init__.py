"""Losses: reconstruction, perceptual, adversarial."""
