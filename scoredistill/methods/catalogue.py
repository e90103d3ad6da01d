"""The methods by name; their files define everything else."""

from __future__ import annotations

from scoredistill.methods.asd import ASD
from scoredistill.methods.cfd import CFD
from scoredistill.methods.consistent3d import Consistent3D
from scoredistill.methods.csd import CSD
from scoredistill.methods.dsd import DSD
from scoredistill.methods.esd import ESD
from scoredistill.methods.hifa import HiFA
from scoredistill.methods.ism import ISM
from scoredistill.methods.method import MethodConfig
from scoredistill.methods.mvdream import MVDream
from scoredistill.methods.nfsd import NFSD
from scoredistill.methods.pfd import PFD
from scoredistill.methods.sdi import SDI
from scoredistill.methods.sds import SDS
from scoredistill.methods.sjc import SJC
from scoredistill.methods.ssd import SSD
from scoredistill.methods.vsd import VSD

METHODS: dict[str, type[MethodConfig]] = {
    "sds": SDS,
    "sjc": SJC,
    "vsd": VSD,
    "esd": ESD,
    "hifa": HiFA,
    "nfsd": NFSD,
    "csd": CSD,
    "ism": ISM,
    "asd": ASD,
    "consistent3d": Consistent3D,
    "mvdream": MVDream,
    "sdi": SDI,
    "dsd": DSD,
    "cfd": CFD,
    "pfd": PFD,
    "ssd": SSD,
}
