"""Whether a merged bf16 checkpoint holds the right numbers, against float64 arithmetic in blocks.

Reads safetensors with plain reads, a block at a time, and shares no code with the engine it judges.

The bound of a k-term sum in float32 with one rounding to bf16, for every element:

    |y - ref| <= ulp(ref) / 2 + (k + 1) 2^-23 sum |term|
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint16]
Doubles = npt.NDArray[np.float64]
Formula = Callable[[Sequence[Doubles]], list[Doubles]]
"""From one block of every input, in recipe order, to the terms whose sum is the result."""

BLOCK_ELEMENTS: Final = 1 << 17
SMALLEST_NORMAL: Final = 2.0**-126
SMALLEST_STEP: Final = 2.0**-133
"""Between neighbouring subnormal bf16 numbers."""


def soup(inputs: Sequence[Doubles]) -> list[Doubles]:
    """The mean of the inputs."""
    return [x / len(inputs) for x in inputs]


def task_arithmetic(*coefficients: float) -> Formula:
    """The first input plus `coefficient * (x - first)` for each other."""

    def terms(inputs: Sequence[Doubles]) -> list[Doubles]:
        base, *tuned = inputs
        return [base, *(c * (x - base) for c, x in zip(coefficients, tuned, strict=True))]

    return terms


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a bf16 tensor lies: `start` is its first byte in `path`."""

    path: Path
    start: int
    shape: tuple[int, ...]

    def blocks(self) -> Iterator[Bits]:
        remaining = math.prod(self.shape)
        with self.path.open("rb") as file:
            file.seek(self.start)
            while remaining:
                count = min(BLOCK_ELEMENTS, remaining)
                yield np.frombuffer(file.read(2 * count), dtype=np.uint16, count=count)
                remaining -= count


@dataclass(frozen=True, slots=True)
class Comparison:
    """Element counts over a whole checkpoint.

    `not_nearest` differ from the correctly rounded result, `beyond_bound` are not within the bound either;
    `frozen` lie in tensors that are bit-equal in all inputs, `frozen_changed` of them differ from the inputs.
    """

    elements: int = 0
    not_nearest: int = 0
    beyond_bound: int = 0
    frozen: int = 0
    frozen_changed: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.elements + other.elements,
            self.not_nearest + other.not_nearest,
            self.beyond_bound + other.beyond_bound,
            self.frozen + other.frozen,
            self.frozen_changed + other.frozen_changed,
        )


def compare(output: Path, inputs: Sequence[Path], formula: Formula) -> Comparison:
    """Judge every element of `output`. ValueError when its tensors are not those of the first input."""
    merged, *sources = (stored_tensors(folder) for folder in (output, *inputs))
    if _shapes(merged) != _shapes(sources[0]):
        raise ValueError(f"{output} has not the tensor names and shapes of {inputs[0]}")
    each = (_compare_tensor(merged[name], [source[name] for source in sources], formula) for name in merged)
    return sum(each, Comparison())


def _shapes(tensors: Mapping[str, Stored]) -> dict[str, tuple[int, ...]]:
    return {name: stored.shape for name, stored in tensors.items()}


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of every safetensors file in `folder`. ValueError for one that is not bf16."""
    tensors: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_bytes))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] != "BF16":
                raise ValueError(f"{path}: {name} is {entry['dtype']}, not BF16")
            tensors[name] = Stored(path, 8 + header_bytes + entry["data_offsets"][0], tuple(entry["shape"]))
    return tensors


def _compare_tensor(merged: Stored, sources: Sequence[Stored], formula: Formula) -> Comparison:
    counts = Comparison()
    frozen, changed = True, 0
    for got, *given in zip(merged.blocks(), *(source.blocks() for source in sources), strict=True):
        counts += compare_block(got, given, formula)
        frozen = frozen and all(np.array_equal(given[0], other) for other in given[1:])
        changed += int(np.count_nonzero(got != given[0]))
    return counts + Comparison(frozen=counts.elements, frozen_changed=changed) if frozen else counts


def compare_block(got: Bits, given: Sequence[Bits], formula: Formula) -> Comparison:
    """Judge one block: `got` against the formula of `given`, all of one length."""
    terms = formula([from_bfloat16(bits) for bits in given])
    reference = total(terms)
    wrong = np.flatnonzero(got != to_bfloat16(reference))
    near = np.abs(from_bfloat16(got[wrong]) - reference[wrong]) <= bound([term[wrong] for term in terms])
    return Comparison(got.size, wrong.size, wrong.size - int(np.count_nonzero(near)))


def bound(terms: Sequence[Doubles]) -> Doubles:
    """How far a result may lie from the sum of `terms`."""
    magnitude = total([np.abs(term) for term in terms])
    return spacing(total(terms)) / 2 + (len(terms) + 1) * 2.0**-23 * magnitude


def total(terms: Sequence[Doubles]) -> Doubles:
    """The terms added up in their order."""
    first, *rest = terms
    added = first.copy()
    for term in rest:
        added += term
    return added


def spacing(values: Doubles) -> Doubles:
    """The distance from each value to the next bf16 number away from zero (its ulp)."""
    _, exponents = np.frexp(np.maximum(np.abs(values), SMALLEST_NORMAL))
    return np.ldexp(1.0, exponents - 8)


def to_bfloat16(values: Doubles) -> Bits:
    """The bits of the bf16 number nearest to each float64, ties to even, in one rounding; for finite values.

    Values beyond the largest bf16 become infinite.
    """
    bits = values.view(np.uint64)
    half = np.uint64((1 << 44) - 1) + ((bits >> np.uint64(45)) & np.uint64(1))
    rounded = ((bits + half) & np.uint64(-(1 << 45) % (1 << 64))).view(np.float64)
    tiny = np.abs(values) < SMALLEST_NORMAL
    if tiny.any():
        rounded[tiny] = np.rint(values[tiny] / SMALLEST_STEP) * SMALLEST_STEP
    with np.errstate(over="ignore"):
        return (rounded.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def from_bfloat16(bits: Bits) -> Doubles:
    """The values of bf16 bits, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
