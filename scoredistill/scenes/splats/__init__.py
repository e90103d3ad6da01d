"""Gaussian splats (Kerbl et al. 2023)."""

from scoredistill.scenes.splats.config import DensifyConfig, RateDecay, SplatRegularizers, SplatsConfig
from scoredistill.scenes.splats.splats import Splats

__all__ = ["DensifyConfig", "RateDecay", "SplatRegularizers", "Splats", "SplatsConfig"]
