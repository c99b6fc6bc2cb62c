"""One function for each operation that is written often; `node` is for the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mergegraph.builder.handle import Handle, node, refused
from mergegraph.builder.merge import Merge
from mergegraph.errors import InputError
from mergegraph.methods.load import Load
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.units import format_count

Schedule: TypeAlias = "float | Sequence[float] | Sequence[Mapping[str, object]]"


def load(model: str | Path, *, name: str = "", **fields: object) -> Handle:
    """The model at `model`. A saved delta is a delta; what cannot be opened yet counts as weights."""
    handle = replace(node("load", name=name, model=str(model), **fields), called=_word(Path(model).name))
    assert isinstance(handle.method, Load)
    try:
        return replace(handle, space=open_checkpoint(str(model), handle.folder, handle.method.subfolder).space)
    except InputError:
        return handle


def delta(model: Handle, base: Handle, *, name: str = "", **fields: object) -> Handle:
    """`model - base`: what training changed."""
    return node("delta", name=name, model=model, base=base, **fields)


def negate(input: Handle, *, name: str = "") -> Handle:
    """The opposite of a delta."""
    return node("negate", name=name, input=input)


def scale(input: Handle, *, by: Schedule, name: str = "") -> Handle:
    """`by` times the input; a list is a gradient over the layers, a list of rules chooses by tensor."""
    return node("scale", name=name, input=input, by=by)


def soup(
    inputs: Iterable[Handle], weights: Sequence[Schedule] | None = None, *, name: str = "", **fields: object
) -> Handle:
    """The average of models, or of deltas; `weights` are divided by their sum."""
    if isinstance(inputs, Handle) or isinstance(weights, Handle):
        raise refused(
            "mg.soup takes its inputs as one list.", "write mg.soup([A, B]), or mg.soup([A, B], weights=[1, 2])"
        )
    inputs = list(inputs)
    if weights is not None and len(weights) != len(inputs):
        raise refused(
            f"The soup has {format_count(len(inputs), 'input')} and {format_count(len(weights), 'weight')}.",
            "give one weight for each input, or none",
        )
    pieces: list[object] = list(inputs)
    if weights is not None:
        pieces = [{"from": each, "weight": weight} for each, weight in zip(inputs, weights, strict=True)]
    return node("soup", name=name, inputs=pieces, **fields)


def select(cases: Iterable[Mapping[str, object]], otherwise: Handle | None = None, *, name: str = "") -> Handle:
    """Each tensor from the first case that matches: `[{"kind": "attention", "from": a}]`, else from `otherwise`."""
    rest = {} if otherwise is None else {"otherwise": otherwise}
    return node("select", name=name, cases=list(cases), **rest)


def stack(slices: Iterable[tuple[Handle, str]], *, name: str = "", **fields: object) -> Handle:
    """A model from runs of layers: `[(a, "0:24"), (b, "8:32")]`."""
    pieces = [{"from": model, "layers": layers} for model, layers in slices]
    return node("stack", name=name, slices=pieces, **fields)


def clamp(input: Handle, within: Iterable[Handle], *, name: str = "") -> Handle:
    """Every element moved into the range that the models of `within` span."""
    return node("clamp", name=name, input=input, within=list(within))


def save(input: Handle, path: str | Path, *, name: str = "", **fields: object) -> Merge:
    """A run that writes `input` to the folder `path`."""
    return Merge((replace(node("save", name=name, input=input, path=str(path), **fields), called="out"),))


def merge(*merges: Merge, name: str = "", seed: int = 0) -> Merge:
    """Several saves as one run: what they share is read once."""
    return Merge(tuple(saved for each in merges for saved in each.saves), name, seed)


def _word(text: str) -> str:
    """`text` as a node's name: letters, digits and underscores."""
    word = re.sub(r"\W", "_", text.removesuffix(".safetensors"))
    return word if word.isidentifier() else f"_{word}"
