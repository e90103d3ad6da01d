"""MVDream (Shi et al. 2024)."""

from scoredistill.priors.mvdream.prior import MVDreamPrior

__all__ = ["MVDreamPrior"]
