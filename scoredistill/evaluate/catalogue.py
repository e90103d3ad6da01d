"""The metrics by name; their files define everything else."""

from __future__ import annotations

from scoredistill.evaluate.metrics.clip_iqa import CLIP_IQA
from scoredistill.evaluate.metrics.clip_score import CLIP_SCORE
from scoredistill.evaluate.metrics.clip_sim import CLIP_SIM
from scoredistill.evaluate.metrics.cost import PEAK_MB, SECONDS
from scoredistill.evaluate.metrics.divergence import DIVERGED
from scoredistill.evaluate.metrics.diversity import DIVERSITY
from scoredistill.evaluate.metrics.fid import FID, KID
from scoredistill.evaluate.metrics.frechet import FRECHET
from scoredistill.evaluate.metrics.image_reward import IMAGE_REWARD
from scoredistill.evaluate.metrics.kernel import KERNEL
from scoredistill.evaluate.metrics.metric import Metric
from scoredistill.evaluate.metrics.pairwise_lpips import LPIPS
from scoredistill.evaluate.metrics.parts import FACE_BEHIND, FACE_RIGHT, PARTS_RIGHT
from scoredistill.evaluate.metrics.patches import PATCH_DISTANCE
from scoredistill.evaluate.metrics.recognition import COLOR_RIGHT, KIND_RIGHT, SIMILARITY, VIEW_RIGHT
from scoredistill.evaluate.metrics.retrieval import RETRIEVAL
from scoredistill.evaluate.metrics.saturation import SATURATION
from scoredistill.evaluate.metrics.sharpness import SHARPNESS

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        SHARPNESS,
        SATURATION,
        DIVERGED,
        SECONDS,
        PEAK_MB,
        CLIP_SCORE,
        CLIP_IQA,
        CLIP_SIM,
        IMAGE_REWARD,
        LPIPS,
        FID,
        KID,
        SIMILARITY,
        RETRIEVAL,
        KIND_RIGHT,
        COLOR_RIGHT,
        VIEW_RIGHT,
        FACE_RIGHT,
        FACE_BEHIND,
        PARTS_RIGHT,
        PATCH_DISTANCE,
        DIVERSITY,
        FRECHET,
        KERNEL,
    )
}
