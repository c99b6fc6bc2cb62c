"""Scores a language model on four short texts, one for each thing a fine-tune of tiny-llama has learnt.

English and French are stories written for this folder; the legal text is the licence at the repository's root,
the Python a module of the standard library that runs this, so its numbers move a little with the Python version.
The texts are small, and the last two are public: they compare models of this folder, and measure nothing else.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from recipes.evaluation.bpe import read_encoder
from recipes.evaluation.checkpoint import Checkpoint
from recipes.evaluation.llama import llama_logits
from recipes.evaluation.score import Score

WINDOW = 128  # tokens a model sees at most

TEXTS = Path(__file__).parent.parent / "texts"
DOMAINS: dict[str, Path] = {
    "english": TEXTS / "english.txt",
    "french": TEXTS / "french.txt",
    "python": Path(textwrap.__file__),
    "legal": Path(__file__).parent.parent.parent / "LICENSE",
}


def score_texts(checkpoint: Checkpoint) -> dict[str, Score]:
    """One score a domain, in nats a token, computed in float32."""
    encode = read_encoder(checkpoint.folder / "tokenizer.json")
    in_float32 = Checkpoint(checkpoint.folder, checkpoint.config, checkpoint.as_dtype(torch.float32))
    with torch.inference_mode():
        return {
            domain: score_tokens(in_float32, torch.tensor(encode(file.read_text(encoding="utf-8"))))
            for domain, file in DOMAINS.items()
        }


def score_tokens(checkpoint: Checkpoint, tokens: torch.Tensor) -> Score:
    """The score over `tokens` `[n]`, in windows of 128 inputs; up to 127 tokens left over at the end do not count."""
    windows = tokens.unfold(0, WINDOW + 1, WINDOW)
    logits = llama_logits(checkpoint.tensors, checkpoint.config, windows[:, :-1]).flatten(0, 1)
    targets = windows[:, 1:].flatten()
    correct = int((logits.argmax(-1) == targets).sum().item())
    return Score(cross_entropy(logits, targets).item(), correct, len(targets))
