"""A cache of the encoded input picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from scoredistill.contracts import Photo, Prompt

Encoded = TypeVar("Encoded")


class PictureCache(Generic[Encoded]):
    """Calls `encode` on the picture of a prompt, and again only if the picture changes."""

    def __init__(self, encode: Callable[[Photo], Encoded]):
        self.encode = encode
        self.photo: Photo | None = None

    def __call__(self, prompt: Prompt) -> tuple[Photo, Encoded]:
        """The picture of the prompt and its encoding; ValueError if the prompt has none."""
        if prompt.photo is None:
            raise ValueError("this prior generates views of a picture: name one, as in --image toy.png")
        if prompt.photo is not self.photo:
            self.photo, self.encoded = prompt.photo, self.encode(prompt.photo)
        return prompt.photo, self.encoded
