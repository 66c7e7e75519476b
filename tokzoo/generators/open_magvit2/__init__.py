"""The generator of Open-MAGVIT2, arXiv:2409.04410."""
