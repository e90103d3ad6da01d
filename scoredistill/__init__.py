"""Score distillation: from a 2D diffusion model to images and 3D models.

from scoredistill import generate
result = generate("a purple snowman")
result.export("snowman.glb")
"""

from scoredistill import startup as _startup  # noqa: F401 (before everything that takes time)
from scoredistill.kernels import openmp as _openmp  # noqa: F401 (before anything imports torch)

# isort: split
from scoredistill.camera import Cameras, orbit, ring
from scoredistill.config import Config
from scoredistill.contracts import Distilled, Frame, Method, Needs, Prior, Prompt, Query, Scene, Step
from scoredistill.export.glb import write_glb
from scoredistill.export.mesh import extract
from scoredistill.methods.asd import ASD
from scoredistill.methods.catalogue import METHODS
from scoredistill.methods.cfd import CFD
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.csd import CSD
from scoredistill.methods.distillation import Distillation
from scoredistill.methods.dsd import DSD
from scoredistill.methods.esd import ESD
from scoredistill.methods.hifa import HiFA
from scoredistill.methods.ism import ISM
from scoredistill.methods.method import DistillationConfig, MethodConfig
from scoredistill.methods.mvdream import MVDream
from scoredistill.methods.nfsd import NFSD
from scoredistill.methods.pfd import PFD
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.methods.sjc import SJC
from scoredistill.methods.ssd import SSD
from scoredistill.methods.vsd import VSD
from scoredistill.optimize import optimize
from scoredistill.priors.analytic import AnalyticPrior
from scoredistill.priors.diffusers import DiffusersPrior
from scoredistill.priors.load import load_prior
from scoredistill.priors.mvdream import MVDreamPrior
from scoredistill.priors.toybox import ToyboxPosePrior, ToyboxPrior, ToyboxViewsPrior
from scoredistill.priors.zero123 import Zero123Prior
from scoredistill.recipes.build import build
from scoredistill.recipes.fast import fast
from scoredistill.recipes.paper import low_vram, paper
from scoredistill.recipes.recipe import Recipe
from scoredistill.runs.generate import Result, distill_image, generate
from scoredistill.scenes.image import Image, ImageConfig
from scoredistill.scenes.nerf import NeRF, NerfConfig
from scoredistill.scenes.splats import Splats, SplatsConfig
from scoredistill.schedule import NoiseSchedule
from scoredistill.views import OrbitConfig, no_cameras

__version__ = "0.2.0"

__all__ = [
    "ASD",
    "CFD",
    "CSD",
    "DSD",
    "ESD",
    "ISM",
    "METHODS",
    "NFSD",
    "PFD",
    "SDI",
    "SDS",
    "SJC",
    "SSD",
    "VSD",
    "AnalyticPrior",
    "Cameras",
    "Config",
    "Consistent3D",
    "DiffusersPrior",
    "Distillation",
    "DistillationConfig",
    "Distilled",
    "Frame",
    "HiFA",
    "Image",
    "ImageConfig",
    "MVDream",
    "MVDreamPrior",
    "Method",
    "MethodConfig",
    "NeRF",
    "Needs",
    "NerfConfig",
    "NoiseSchedule",
    "OrbitConfig",
    "Prior",
    "Prompt",
    "Query",
    "Recipe",
    "Result",
    "Scene",
    "Splats",
    "SplatsConfig",
    "Step",
    "ToyboxPosePrior",
    "ToyboxPrior",
    "ToyboxViewsPrior",
    "Zero123Prior",
    "__version__",
    "build",
    "distill_image",
    "extract",
    "fast",
    "generate",
    "load_prior",
    "low_vram",
    "no_cameras",
    "optimize",
    "orbit",
    "paper",
    "ring",
    "write_glb",
]
