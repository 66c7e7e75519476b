"""The generator of IBQ, arXiv:2412.02692."""
