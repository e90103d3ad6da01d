"""A CLIP tokenizer whose vocabulary is Toybox's language: each of its words is one token, others fall into letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from scoredistill.toybox.captions import VOCABULARY

LENGTH = 32  # tokens: the longest caption with its comma, start and end, rounded up
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def tokenizer() -> CLIPTokenizer:
    """The tokenizer: pairs of bytes are merged in the order of byte pair encoding until each word is one token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [letter + WORD_END for letter in letters]
    pairs = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    pairs.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue] (its stub lacks it)
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,  # more than all merges: no word remains divided
        min_frequency=1,
        initial_alphabet=letters,
        special_tokens=endings,  # so that they are numbered in this order: ties between merges go by number
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    pairs.train_from_iterator(VOCABULARY[1:], trainer)
    merges: Any = [(left, right) for left, right in json.loads(pairs.to_str())["model"]["merges"]]
    tokens = dict.fromkeys([*letters, *endings, *(left + right for left, right in merges), BEGIN, END])
    return CLIPTokenizer({token: index for index, token in enumerate(tokens)}, merges, model_max_length=LENGTH)


def save_as_published(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the tokenizer also in the form of Stable Diffusion's, for other versions of transformers."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
