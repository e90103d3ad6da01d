"""Prompts as tokens of a fixed number: padded, or cut so that the words of the view at the end stay."""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Callable
from typing import Any

from scoredistill.priors.diffusers.view_prompting import without_view

log = logging.getLogger(__name__)

LEAST_SHARE = 0.9  # of the encoder's embeddings that a whole vocabulary has tokens for
LONGEST = 4096  # tokens; libraries have 10^30 where the settings name no length
SHORTEST = 16


class Tokens:
    """The tokens of texts for one text encoder, `length` of them.

    `source` names model and part in errors; a warning has named the prompts in `cut`. ValueError in one line for a
    vocabulary that is incomplete or another encoder's, and where neither tokenizer nor encoder has a length.
    """

    def __init__(self, tokenizer: Any, network: Any, source: str, cut: set[str], length: int | None = None):
        self.tokenizer, self.source, self.cut = tokenizer, source, cut
        self.rows = network.get_input_embeddings().num_embeddings
        positions = getattr(network.config, "max_position_embeddings", None)
        self.length = min(length or tokenizer.model_max_length, positions or LONGEST)
        if not SHORTEST <= self.length < LONGEST:
            raise ValueError(
                f"{source} has length {self.length}: set model_max_length in tokenizer_config.json (77 for CLIP)"
            )
        if len(tokenizer) < LEAST_SHARE * self.rows:
            raise ValueError(
                f"{source} has a vocabulary of {len(tokenizer)} tokens, the text encoder {self.rows}: its files are "
                "incomplete or of another model, copy or download them again"
            )

    def __call__(self, texts: list[str]) -> Any:
        """Tokens and mask of each text [B L], padded or cut to the length, with a warning that names what was cut."""
        fitting = [self._shortened(text) for text in texts]
        found = self.tokenizer(
            fitting, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        if int(found.input_ids.max()) >= self.rows:
            raise ValueError(f"{self.source} has more tokens than the {self.rows} of the text encoder: another model's")
        return found

    def _shortened(self, text: str) -> str:
        fitting, cut = fitted(text, self.length, lambda each: len(self.tokenizer(each, verbose=False).input_ids))
        prompt = without_view(text)[0]
        if cut and prompt not in self.cut:
            self.cut.add(prompt)
            log.warning("the prompt is longer than the %d tokens of the text encoder; cut: %r", self.length, cut)
        return fitting


def fitted(text: str, length: int, count: Callable[[str], int]) -> tuple[str, str]:
    """The text without the words before its view that exceed `length` tokens by `count`, and what was cut.

    It is cut between words, inside of a word only if the first one alone is too long.
    """
    if count(text) <= length:
        return text, ""
    prompt, view = without_view(text)
    for pieces in (re.findall(r"\s*\S+", prompt), list(prompt)):
        fits = range(len(pieces) + 1)
        number = bisect.bisect_right(fits, length, key=lambda n: count("".join(pieces[:n]) + view)) - 1
        if number > 0:
            return "".join(pieces[:number]) + view, "".join(pieces[number:]).strip()
    return view, prompt
