"""Gaussian splats (Kerbl et al. 2023)."""

from scoredistill.scenes.splats.config import DensifyConfig, RateDecay, SplatRegularizers
from scoredistill.scenes.splats.splats import Splats, SplatsConfig

__all__ = ["DensifyConfig", "RateDecay", "SplatRegularizers", "Splats", "SplatsConfig"]
