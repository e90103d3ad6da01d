"""FID and KID as published: the distances of `frechet` and `kernel` in the features of Inception."""

from __future__ import annotations

from dataclasses import replace

from scoredistill.evaluate.metrics.frechet import FRECHET
from scoredistill.evaluate.metrics.kernel import KERNEL

FID = replace(
    FRECHET,
    name="fid",
    title="Frechet distance to reference pictures in the features of Inception",
    source="Heusel et al. 2017, the network and resizing of torch-fidelity; the DSD paper, table 2; biased upwards for "
    "few images, so compare equal counts only",
    priors="all",
    validation="features equal torch-fidelity's on random weights, the distance torchmetrics'",
)
KID = replace(
    KERNEL,
    name="kid",
    title="kernel distance to reference pictures in the features of Inception",
    source="Binkowski et al. 2018, of whole sets (torch-fidelity and torchmetrics average over subsets)",
    priors="all",
    validation="features equal torch-fidelity's on random weights, the distance torchmetrics' on one whole subset",
)
