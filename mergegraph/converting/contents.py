"""What pickled files hold, as the child says, checked; and what of it is written.

Tensors with one place in one storage are one tensor under several names. Where config.json ties a head to its
embedding, the head is left out, as safetensors files of such models have it; every other alias is written too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mergegraph.dtypes import DType, by_name
from mergegraph.errors import InputError, Problem
from mergegraph.tensors.header import MOST_DIMENSIONS, MOST_NAME_BYTES
from mergegraph.tensors.layout import TensorSpec
from mergegraph.ties import is_tied, tied_pairs

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of a pickled file. Equal places in one file are one tensor."""

    spec: TensorSpec
    file: int
    place: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape


def held_tensors(answers: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Held]:
    """The tensors of all files, (path, the child's answer) each. InputError for what safetensors cannot hold."""
    tensors: dict[str, Held] = {}
    problems: list[Problem] = []
    for index, (path, answer) in enumerate(answers):
        for name, facts in cast("dict[str, dict[str, Any]]", answer["tensors"]).items():
            if name in tensors:
                fact = f"{answers[tensors[name].file][0]} and {path} both hold {name}."
                why = "parts of one tensor, or files of two models; which, nothing says"
                problems.append(Problem(fact, why=why, fix=f"convert one file by itself: mergegraph convert {path}"))
                continue
            try:
                tensors[name] = _held(name, facts, index)
            except ValueError as error:
                problems.append(Problem(f"{path} holds {name[:200]}, which is not written: {error}."))
    if problems:
        raise InputError(*problems[:_SHOWN])
    return tensors


def compare_index(weight_map: Mapping[str, str], names: Iterable[str]) -> None:
    """InputError when the index promises tensors that no file holds."""
    held = set(names)
    lost = [name for name in weight_map if name not in held]
    if lost:
        fact = f"The index says that {weight_map[lost[0]]} holds {lost[0]}; no file does."
        more = f"{len(lost):,} tensors are missing" if len(lost) > 1 else ""
        raise InputError(Problem(fact, tensor=lost[0], why=more, fix="download the index and all of its files again"))


def tied_aliases(tensors: Mapping[str, Held], config: Mapping[str, Any]) -> dict[str, str]:
    """The heads that are their embedding, in storage and by config.json; with the embedding of each."""
    if not is_tied(config, tensors):
        return {}
    return {head: tied for head, tied in tied_pairs(tensors).items() if _same(tensors[head], tensors[tied])}


def aliases(tensors: Mapping[str, Held]) -> dict[str, str]:
    """Every further name of a tensor, with the first."""
    first: dict[tuple[object, ...], str] = {}
    found: dict[str, str] = {}
    for name, held in tensors.items():
        if held.place and (earlier := first.setdefault(_identity(held), name)) != name:
            found[name] = earlier
    return found


def _same(one: Held, other: Held) -> bool:
    return bool(one.place) and _identity(one) == _identity(other)


def _identity(held: Held) -> tuple[object, ...]:
    return held.file, held.place, held.spec.dtype, held.spec.shape


def _held(name: str, facts: Mapping[str, Any], file: int) -> Held:
    """ValueError says what is wrong with the entry."""
    shape, place = facts["shape"], facts["place"]
    if len(name.encode(errors="replace")) > MOST_NAME_BYTES or name in ("", "__metadata__") or _is_torn(name):
        raise ValueError("its name is none that safetensors can hold")
    if len(shape) > MOST_DIMENSIONS or not all(type(x) is int and 0 <= x < 2**63 for x in shape):
        raise ValueError("its shape is none that a tensor can have")
    if math.prod(max(x, 1) for x in shape) >= 2**60:
        raise ValueError("it has 2^60 elements or more")
    return Held(TensorSpec(name, _dtype(str(facts["dtype"])), tuple(shape)), file, tuple(place))


def _dtype(name: str) -> DType:
    try:
        dtype = by_name(name)
    except KeyError:
        raise ValueError(f"safetensors has no dtype {name[:40]}") from None
    if dtype.bits < 8:
        raise ValueError(f"{name} packs several elements in a byte")
    return dtype


def _is_torn(text: str) -> bool:
    """Whether it holds half of a surrogate pair, which UTF-8 cannot."""
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)
