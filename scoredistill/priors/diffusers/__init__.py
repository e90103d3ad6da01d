"""Published text-to-image models as priors, in the format of the library diffusers."""

from scoredistill.priors.diffusers.prior import DiffusersPrior

__all__ = ["DiffusersPrior"]
