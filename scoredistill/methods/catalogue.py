"""The catalogue: every method by its name.

A new method is a short function that composes rules, a line in METHODS, one in CITATIONS, and a closed-form test.
"""

from __future__ import annotations

from collections.abc import Callable

from scoredistill.contracts import Method
from scoredistill.methods.citations import CITATIONS
from scoredistill.methods.classics import csd, hifa, mvdream, nfsd, sds, sjc
from scoredistill.methods.flows import cfd, pfd
from scoredistill.methods.learned import esd, vsd
from scoredistill.methods.trajectories import asd, consistent3d, dsd, ism, sdi

__all__ = [
    "CITATIONS",
    "METHODS",
    "asd",
    "cfd",
    "consistent3d",
    "csd",
    "dsd",
    "esd",
    "hifa",
    "ism",
    "mvdream",
    "nfsd",
    "pfd",
    "sdi",
    "sds",
    "sjc",
    "vsd",
]

METHODS: dict[str, Callable[..., Method]] = {
    "sds": sds,
    "sjc": sjc,
    "vsd": vsd,
    "esd": esd,
    "hifa": hifa,
    "nfsd": nfsd,
    "csd": csd,
    "ism": ism,
    "asd": asd,
    "consistent3d": consistent3d,
    "mvdream": mvdream,
    "sdi": sdi,
    "dsd": dsd,
    "cfd": cfd,
    "pfd": pfd,
}
