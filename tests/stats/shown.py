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
def huge() -> Record:
    """Values whose squares, and sums of squares, are near the end of float64 and beyond it."""
    torch.manual_seed(9)
    sizes = (1e150, 5e152, 1e153, 1e154, 1e200)
    base = {f"model.layers.{i}.mlp.up_proj.weight": s * torch.randn(9, 8).double() for i, s in enumerate(sizes)}
    sources = [{n: w + 0.5 * w.abs().max() * torch.randn(9, 8).double() for n, w in base.items()} for _ in range(2)]
    record = made.record(dict(zip("ab", sources, strict=True)), base, made.combined(base, sources, (0.5, 0.5)))
    # A record that was capped: each sum is a number, all of them together are not.
    return replace(
        record, tensors=(*record.tensors, replace(record.tensors[1], name="capped.weight", gram=(1.7e308,) * 10))
    )


@lru_cache
def hostile() -> Record:
    """Names that are markup, in HTML and on a terminal."""
    torch.manual_seed(4)
    names = ["</script><script>alert(1)</script>", "<b>&\"'", "[red]x[/]", "\x1b[2J\x1b]0;x\x07", "a\nb\u202ec"]
    base = {f"model.layers.{i}.{name}.weight": torch.randn(7, 5) for i, name in enumerate(names)}
    source = {name: weight + 0.1 * torch.randn(7, 5) for name, weight in base.items()}
    named = {"<i>one": source, "two[/]\x07": {name: weight + 0.2 for name, weight in base.items()}}
    return made.record(named, base, made.combined(base, list(named.values()), (0.5, 0.5)))
