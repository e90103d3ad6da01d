"""Score distillation: what a 2-D diffusion model knows, as a 3-D model or an image.

run = resolve(Run("a purple snowman"))
parts = build(run)
for step in parts.optimize():
    print(step.index, float(step.distilled.grad.norm()))
write_glb(extract(parts.scene.volume()), Path("snowman.glb"))
"""

from scoredistill import openmp as _openmp  # noqa: F401 (before whatever imports torch)

# isort: split
from scoredistill.artifacts import finish
from scoredistill.camera import Cameras, orbit, ring
from scoredistill.contracts import Distilled, Frame, Method, Prior, Prompt, Query, Scene, Step
from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import extract
from scoredistill.folder import RunFolder
from scoredistill.journal import record
from scoredistill.methods.catalogue import CITATIONS, METHODS, sdi, sds
from scoredistill.methods.distillation import Distillation
from scoredistill.optimize import optimize
from scoredistill.parts import build
from scoredistill.priors.analytic import AnalyticPrior
from scoredistill.priors.toybox import ToyboxPrior
from scoredistill.run import Run, resolve
from scoredistill.scenes.image import Image
from scoredistill.scenes.nerf import NeRF
from scoredistill.schedule import NoiseSchedule
from scoredistill.views import RandomOrbit

__all__ = [
    "CITATIONS",
    "METHODS",
    "AnalyticPrior",
    "Cameras",
    "Distillation",
    "Distilled",
    "Frame",
    "Image",
    "Method",
    "NeRF",
    "NoiseSchedule",
    "Prior",
    "Prompt",
    "Query",
    "RandomOrbit",
    "Run",
    "RunFolder",
    "Scene",
    "Step",
    "ToyboxPrior",
    "build",
    "extract",
    "finish",
    "optimize",
    "orbit",
    "record",
    "resolve",
    "ring",
    "sdi",
    "sds",
    "write_glb",
]
