"""Scenes: what is rendered and optimized (images, NeRF, Gaussian splats)."""
