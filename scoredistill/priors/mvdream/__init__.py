"""MVDream (Shi et al. 2024)."""

from scoredistill.priors.mvdream.prior import MVDREAM_ANGLES, MVDreamPrior

__all__ = ["MVDREAM_ANGLES", "MVDreamPrior"]
