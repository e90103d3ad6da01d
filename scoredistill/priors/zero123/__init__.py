"""Zero-1-to-3 (Liu et al. 2023)."""

from scoredistill.priors.zero123.prior import Zero123Prior

__all__ = ["Zero123Prior"]
