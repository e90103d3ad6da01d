"""The judge: a recognition network for images of toys, independent of all priors and methods.

B images   N captions   K kinds   C colors   V view words   D width of the judge's features
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scoredistill.evaluate import embedded
from scoredistill.evaluate.judge_network import SIZE, JudgeNetwork, Shape
from scoredistill.toybox import captions

EMBEDDED = embedded.FOLDER / "toybox-judge.safetensors"
KINDS, COLORS, VIEWS = tuple(captions.KINDS), tuple(captions.COLORS), captions.VIEWS
_BATCH = 256  # images per batch; limits memory, does not change the result


def plain(kind: str, color: str) -> str:
    """The plainest caption of a toy: "an orange cat"."""
    return captions.phrase(captions.Description(kind, color))


PROMPTS = tuple(plain(kind, color) for kind in KINDS for color in COLORS)


@dataclass(frozen=True)
class Recognition:
    """Probabilities of each kind, main color and view word."""

    kind: Float[Tensor, "B K"]
    color: Float[Tensor, "B C"]
    view: Float[Tensor, "B V"]

    @property
    def kinds(self) -> list[str]:
        """The most probable kind in each image."""
        return [KINDS[index] for index in self.kind.argmax(-1).tolist()]

    @property
    def colors(self) -> list[str]:
        """The most probable main color in each image."""
        return [COLORS[index] for index in self.color.argmax(-1).tolist()]

    @property
    def views(self) -> list[str]:
        """The most probable view words of each image."""
        return [VIEWS[index] for index in self.view.argmax(-1).tolist()]


class Judge:
    """A trained `JudgeNetwork` with the vocabulary of Toybox."""

    def __init__(self, network: JudgeNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path | None = None, device: str | torch.device = "cpu") -> Judge:
        """Load a judge, by default the embedded one; ValueError if it is missing or has another vocabulary."""
        path = Path(path or EMBEDDED)
        remedy = "reinstall the package, or train one with tools/train_judge.py"
        metadata, weights = embedded.read(path, "judge", remedy)
        if json.loads(metadata.get("vocabulary", "[]")) != list(captions.VOCABULARY):
            raise ValueError(f"the judge at {path} has another vocabulary than Toybox: {remedy}")
        network = JudgeNetwork(Shape(**json.loads(metadata["shape"])))
        network.load_state_dict(weights)
        return cls(network.to(device))

    @torch.no_grad()
    def image_features(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Unit features of images in [0, 1], resized to 64 x 64 with antialiasing."""
        return torch.cat([self.network.image(self._resized(part)) for part in rgb.split(_BATCH)])

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Unit features of captions; ValueError for a word outside the vocabulary of Toybox."""
        tokens = torch.tensor([captions.tokenize(text) for text in texts], device=self.network.log_scale.device)
        return self.network.text(tokens)

    def similarity(self, rgb: Float[Tensor, "B 3 H W"], texts: Sequence[str]) -> Float[Tensor, "B N"]:
        """Cosine similarity of every image and every caption, in [-1, 1]."""
        return self.image_features(rgb) @ self.text_features(texts).T

    def retrieval(self, rgb: Float[Tensor, "B 3 H W"], texts: Sequence[str]) -> list[str]:
        """The caption among `texts` with the highest similarity to each image."""
        return [texts[int(index)] for index in self.similarity(rgb, texts).argmax(-1)]

    def recognize(self, rgb: Float[Tensor, "B 3 H W"]) -> Recognition:
        """Zero-shot recognition of kind, main color and view words.

        A softmax over all captions "a {color} {kind}", marginalized over colors and over kinds, and one over the view
        words. p(kind, color | rgb) is proportional to exp(scale cos), the optimum of InfoNCE for equally frequent
        captions (van den Oord et al. 2018, section 2.3).
        """
        features = self.network.logit_scale * self.image_features(rgb)
        toys, views = self._prompts
        joint = (features @ toys.T).softmax(-1).unflatten(-1, (len(KINDS), len(COLORS)))
        return Recognition(joint.sum(2), joint.sum(1), (features @ views.T).softmax(-1))

    @cached_property
    def _prompts(self) -> tuple[Float[Tensor, "KC D"], Float[Tensor, "V D"]]:
        return self.text_features(PROMPTS), self.text_features(VIEWS)

    def _resized(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
        rgb = rgb.to(self.network.log_scale)
        if rgb.shape[-2:] == (SIZE, SIZE):
            return rgb
        return functional.interpolate(rgb, (SIZE, SIZE), mode="bilinear", antialias=True)


def save(network: JudgeNetwork, path: str | Path) -> None:
    """Write the network in half precision, with the shape and vocabulary that `Judge.load` needs."""
    header = {"shape": json.dumps(asdict(network.shape)), "vocabulary": json.dumps(captions.VOCABULARY)}
    embedded.write(network, Path(path), header)
