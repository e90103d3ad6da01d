"""The metrics, one file each: what it measures in words (`Metric`), and a pure function."""

from scoredistill.evaluate.metrics.divergence import divergence
from scoredistill.evaluate.metrics.diversity import diversity
from scoredistill.evaluate.metrics.frechet import Distance, frechet_distance, frechet_gaussians
from scoredistill.evaluate.metrics.kernel import kernel_distance
from scoredistill.evaluate.metrics.parts import part_shares
from scoredistill.evaluate.metrics.patches import patch_distance
from scoredistill.evaluate.metrics.retrieval import retrieval_precision
from scoredistill.evaluate.metrics.saturation import saturation
from scoredistill.evaluate.metrics.sharpness import sharpness

__all__ = [
    "Distance",
    "divergence",
    "diversity",
    "frechet_distance",
    "frechet_gaussians",
    "kernel_distance",
    "part_shares",
    "patch_distance",
    "retrieval_precision",
    "saturation",
    "sharpness",
]
