"""Encoded input pictures, computed once for each picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from scoredistill.contracts import Photo, Prompt

Encoded = TypeVar("Encoded")


class PictureCache(Generic[Encoded]):
    """The prompt's picture as `encode` encodes it, once as long as the picture stays the same."""

    def __init__(self, encode: Callable[[Photo], Encoded]):
        self.encode = encode
        self.photo: Photo | None = None

    def __call__(self, prompt: Prompt) -> tuple[Photo, Encoded]:
        """The picture and its encoding; ValueError where the prompt has none."""
        if prompt.photo is None:
            raise ValueError("this prior generates views of a picture: name one, as in --image toy.png")
        if prompt.photo is not self.photo:
            self.photo, self.encoded = prompt.photo, self.encode(prompt.photo)
        return prompt.photo, self.encoded
