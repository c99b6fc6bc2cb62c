"""Records of real models, made once: a healthy merge of siblings, and one of two that have nothing in common."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from mergegraph.stats.record import Forecast, Mass, Overlap, Record, Spectral, Spectrum, TensorRecord, Thinned
from tests.stats import made

SIBLINGS = ("french", "python", "legal")


@lru_cache
def healthy() -> Record:
    """Task addition: base + 0.3 of each of three fine-tunes, in bfloat16."""
    base = made.checkpoint("tiny-llama/base")
    sources = [made.checkpoint(f"tiny-llama/{name}") for name in SIBLINGS]
    merged = made.combined(base, sources, (0.3, 0.3, 0.3))
    return made.record(dict(zip(SIBLINGS, sources, strict=True)), base, merged)


@lru_cache
def spectral() -> Record:
    """`healthy` with singular values that fall by half and with losses, so that every metric has a value."""
    return replace(healthy(), tensors=tuple(map(_with_spectra, healthy().tensors)))


def _with_spectra(tensor: TensorRecord) -> TensorRecord:
    taken = [Thinned(Mass(9.0, 8.0 - i), Mass(7.0, 4.0 + i), Forecast(3.0, 2.0 + i, 1.0 + i)) for i in range(3)]
    tensor = replace(tensor, thinned=tuple(taken))
    if len(tensor.shape) != 2:
        return replace(tensor, spectral=Spectral(skipped="it is no matrix"))
    found = tuple([Spectrum(tuple([size * 0.5**i for i in range(32)]), 0.0, 1e-6 * size) for size in (0.3, 0.2, 0.5)])
    return replace(
        tensor,
        spectral=Spectral(
            found,
            {pair: Overlap(9, 0.1 + 0.1 * pair[0], 0.2 * pair[1]) for pair in ((0, 1), (0, 2), (1, 2))},
            replace(found[0], rounding=None),
        ),
    )


@lru_cache
def unrelated() -> Record:
    """The average of a soup member and a training from other random weights, against the member's base."""
    base = made.checkpoint("digits-vit/base")
    sources = [made.checkpoint(f"digits-vit/{name}") for name in ("soup-5", "other-init")]
    merged = made.combined(base, sources, (0.5, 0.5))
    return made.record(dict(zip(("soup", "other"), sources, strict=True)), base, merged)


@lru_cache
def hostile() -> Record:
    """Names that are markup, in HTML and on a terminal."""
    torch.manual_seed(4)
    names = ["</script><script>alert(1)</script>", "<b>&\"'", "[red]x[/]", "\x1b[2J\x1b]0;x\x07", "a\nb\u202ec"]
    base = {f"model.layers.{i}.{name}.weight": torch.randn(7, 5) for i, name in enumerate(names)}
    source = {name: weight + 0.1 * torch.randn(7, 5) for name, weight in base.items()}
    named = {"<i>one": source, "two[/]\x07": {name: weight + 0.2 for name, weight in base.items()}}
    return made.record(named, base, made.combined(base, list(named.values()), (0.5, 0.5)))
