"""Kernels and steps written down as lines of a `Script` instead of performed.

A kernel is called as always; what it works on are names, and each operation becomes a line. What a kernel may use is
listed here: operations on whole elements, with `out` or in place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from mergegraph.execute.counting import SOURCE
from mergegraph.execute.measuring import Counters, Measure
from mergegraph.execute.noise import BLOCK_ELEMENTS, SCALE, block_key, drawn_below
from mergegraph.execute.quantile import Counting
from mergegraph.execute.script import MAGNITUDE, Script, signed
from mergegraph.methods.registry import kernels
from mergegraph.plan.steps import Accumulate, Call, Fetch, Reduce, Scaled, Step, Store, Zero
from mergegraph.statistic import CHUNK_ELEMENTS

_WITH_NUMBER: Final = frozenset({"lt", "le", "gt", "ge", "eq", "hardshrink"})
"""Operations that take a number as it is; the others take it as a tensor."""
OPERATIONS: Final = _WITH_NUMBER | {"mul", "add", "sub", "div", "abs", "sign", "sqrt", "minimum", "maximum", "lerp"}
IN_PLACE: Final = frozenset(
    {"mul_", "add_", "sub_", "div_", "abs_", "sqrt_", "clamp_", "copy_", "zero_", "fill_", "neg_", "reciprocal_"}
)


class Name:
    """A tile in a kernel that is written down."""

    def __init__(self, script: Script, slot: int) -> None:
        self._script, self.slot = script, slot

    def __getattr__(self, name: str) -> Callable[..., Name]:
        if name not in IN_PLACE:
            raise AttributeError(f"a kernel that works in pieces has no {name} of a tile")
        return partial(self._called, name)

    def __str__(self) -> str:
        return self._script.name("s", self.slot)

    def __eq__(self, other: object) -> bool:
        raise TypeError("a kernel that works in pieces compares tiles by torch.eq, with `out`")

    def __bool__(self) -> bool:
        raise TypeError("a kernel that works in pieces does not see what a tile holds")

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def _called(self, name: str, *arguments: Any, **named: Any) -> Name:
        _line(self._script, f"{self}.{name}", arguments, named, self._script.number)
        return self


class _Operations:
    """`torch` in a kernel that is written down."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def __getattr__(self, name: str) -> Callable[..., Name]:
        if name not in OPERATIONS:
            raise AttributeError(f"a kernel that works in pieces has no torch.{name}")
        return partial(self._called, name)

    def _called(self, name: str, *arguments: Any, out: Name, **named: Any) -> Name:
        number = self._script.number if name in _WITH_NUMBER else self._script.scalar
        _line(self._script, f"torch.{name}", arguments, {**named, "out": out}, number)
        return out


def _line(
    script: Script, call: str, arguments: Sequence[Any], named: dict[str, Any], number: Callable[[float], str]
) -> None:
    assert not any(isinstance(each, bool) for each in (*arguments, *named.values())), "numbers only"
    given = [str(each) if isinstance(each, Name) else number(float(each)) for each in arguments]
    given += [f"{k}={v if isinstance(v, Name) else script.number(float(v))}" for k, v in named.items()]
    script.lines.append(f"{call}({', '.join(given)})")


@dataclass
class _Kernel:
    """What a kernel is given (see `methods.kernel.Kernel`)."""

    script: Script
    out: Name
    p: Any
    spare: list[Name]
    stats: Sequence[Any]
    noise: tuple[str, str]
    free: int
    ops: Any = field(init=False)

    def __post_init__(self) -> None:
        self.ops = _Operations(self.script)

    def scratch(self) -> Name:
        return self.spare.pop()

    def uniform(self, out: Name) -> Name:
        words = self.spare[0].slot
        self._words(words, out.slot)
        self.script.lines.append(f"{out}.copy_({self.script.name('w', words)})")
        self.script.lines.append(f"{out}.mul_({self.script.number(SCALE)})")
        return out

    def draw_equal(self, operand: Name, size: float, share: float) -> None:
        """On the bits: a product would make NaN of what is not finite."""
        words, equal = self.spare[0].slot, self.free
        name, integer = self.script.name, self.script.integer
        limit = drawn_below(share) if size and share else 0
        bits = struct.unpack("<i", struct.pack("<f", size))[0]
        tiles = [name("w", slot) for slot in (self.out.slot, operand.slot, words, equal)]
        numbers = ["m", *self.noise, integer(limit), integer(bits)]
        self.script.lines.append(f"draw_equal({', '.join([*tiles, *numbers])})")

    def _words(self, words: int, spare: int) -> None:
        """The 24-bit numbers of the elements."""
        w, v = self.script.name("w", words), self.script.name("w", spare)
        self.script.lines.append(f"words_of({w}, {v}, m, {self.noise[0]}, {self.noise[1]})")


@dataclass
class Recorder:
    """Writes the steps of one tile down, which has `elements` from `start` on. `free`: a slot beside the
    program's. `noises`: their keys; `found`: statistics by number; `every`: one in how many runs losses look at."""

    start: int
    elements: int
    noises: Sequence[int]
    found: Sequence[Any]
    free: int
    every: int = 1
    script: Script = field(default_factory=Script)
    fetched: int = 0
    stored: int = 0
    _held: list[int] = field(default_factory=list[int])
    _equal: tuple[int, int, int] | None = None
    """A slot that a line made equal to another, and how many lines there were then."""

    def next_script(self) -> Script:
        """What was written so far; the next lines go to a new script."""
        done, self.script, self._held, self._equal = self.script, Script(), [], None
        return done

    def record(self, step: Step) -> None:
        """Write one step down, of those that `plan.program` lets into a program in pieces."""
        name, lines = self.script.name, self.script.lines
        before, self._equal, self._held = self._equal, None, []  # a slot may change
        match step:
            case Fetch(slot):
                lines.append(f"{name('s', slot)}.copy_({name('r', self.fetched)})")
                self.fetched += 1
            case Zero(slot):
                lines.append(f"{name('s', slot)}.zero_()")
            case Scaled(slot, source, factor):
                number = self.script.scalar(factor)
                lines.append(f"torch.mul({name('s', source)}, {number}, out={name('s', slot)})")
                self._equal = (slot, source, len(lines)) if factor == 1 and slot != source else None
            case Accumulate(slot, source, factor):
                number = self.script.number(factor)
                if before and (before[0], before[2]) == (slot, len(lines)) and slot != source:
                    # one operation, with the same bits
                    lines.pop()
                    self.script.scalars.pop()
                    first = name("s", before[1])
                    lines.append(f"torch.add({first}, {name('s', source)}, alpha={number}, out={name('s', slot)})")
                else:
                    lines.append(f"{name('s', slot)}.add_({name('s', source)}, alpha={number})")
            case Call(kernel=kernel) if kernels()[kernel].only_counted:
                self._where_counted(partial(self._call, step))
            case Call():
                self._call(step)
            case Store(_, slot, dtype):
                self._store(slot, dtype)
            case _:
                raise AssertionError(f"{step} cannot be performed in pieces")

    def _call(self, step: Call) -> None:
        named = partial(Name, self.script)
        stats = [self.found[number] for number in step.stats]
        given = _Kernel(
            self.script, named(step.slot), SimpleNamespace(**dict(step.parameters)), [*map(named, step.scratch)],
            [each for each in stats if each is not None], self._noise(step.noise), self.free,
        )  # fmt: skip
        operands: Any = map(named, step.sources)
        kernels()[step.kernel].tile(given, *operands)  # pyright: ignore[reportArgumentType]

    def _noise(self, noise: int | None) -> tuple[str, str]:
        """The two numbers of this piece's block among the keys of a noise, which are added to the script's."""
        if noise is None:
            return "", ""
        begin = self.script.integer(len(self.script.keys))
        blocks = range(self.start // BLOCK_ELEMENTS, (self.start + max(self.elements, 1) - 1) // BLOCK_ELEMENTS + 1)
        for block in blocks:
            key = block_key(self.noises[noise], block)
            self.script.keys += [signed(key), signed(key >> 32)]
        self.script.noises += 1
        return f"q[{begin} + b]", f"q[{begin} + b + 1]"

    def _store(self, slot: int, dtype: str) -> None:
        """Round, and count what is not finite: whatever is not, before or after, shows in the sum."""
        value, out = self.script.name("s", slot), self.script.name("o", self.stored)
        total = f"{out}.sum(dtype=torch.float32)" if dtype == "F16" else f"{out}.sum()"
        self.script.lines += [
            f"{out}.copy_({value})",
            "nonfinite = 0",
            "overflowed = 0",
            f"probe = float({total})",
            "if probe - probe != 0.0:",
            f"    finite = {value}.isfinite()",
            "    nonfinite = n - int(finite.sum())",
            f"    overflowed = int({out}.isinf().logical_and_(finite).sum())",
            "counts.append(nonfinite)",
            "counts.append(overflowed)",
        ]
        self.script.stores += 1
        self.stored += 1

    def add_up(self, kind: str, slots: Sequence[int]) -> None:
        """A sum over the piece in float64 (see `reduce.Sum`); a slot is converted once for sums in a row."""
        if kind == "count":
            self.script.lines.append("sums.append(float(n))")
        elif kind == "dot":
            one, other = self._double(slots[0], slots[0]), self._double(slots[1], slots[0])
            self.script.lines.append(f"sums.append(float(torch.dot({one}, {other})))")
        else:
            run, self._held = self.script.name("d", 0), []
            self.script.lines.append(f"{run}.copy_({self.script.name('s', slots[0])})")
            self.script.lines.append(f"sums.append(float({run}{'.abs_()' if kind == 'abs_sum' else ''}.sum()))")
        self.script.sums += 1

    def add_up_some(self, kind: str, slots: Sequence[int]) -> None:
        """The same of one run in `every`; 0 of the others."""
        self._held = []
        self._where_counted(partial(self.add_up, kind, slots), "sums.append(0.0)")
        self._held = []

    def _where_counted(self, write: Callable[[], None], otherwise: str = "") -> None:
        """What `write` writes down is only done in one run in `every`."""
        if self.every == 1:
            write()
            return
        lines, first = self.script.lines, len(self.script.lines)
        write()
        every, inner = self.script.integer(self.every), lines[first:]
        lines[first:] = [f"if (start + i) // {CHUNK_ELEMENTS} % {every} == 0:", *(f"    {each}" for each in inner)]
        if otherwise:
            lines += ["else:", f"    {otherwise}"]

    def count(self, counting: Counting, slot: int) -> None:
        """What `quantile.Quantile` counts of a piece: numbers in `tallies`, then a tensor in `chosen`. That holds the
        counts of the window's bins, with one before them; where the window is sparse, the places in it, from 1."""
        window, self._held = counting.window, []
        span = window.high - window.low if window.high <= MAGNITUDE else 0
        bins = window.bins + 1 if window.is_dense else 0
        heavy = [value - window.low for value in window.heavy]
        bits, inside, spare = (self.script.name("x", index) for index in range(3))
        self.script.lines += [
            f"found, part = count_bits({self.script.name('w', slot)}, {bits}, {inside}, {spare}, "
            f"c[{len(self.script.counting)}])",
            "tallies.extend(found)",
            "chosen.append(part)",
        ]
        self.script.counting.append(
            [window.low, span, int(counting.nonzero), int(counting.over), window.shift, bins, *heavy]
        )

    def look(self, into: Measure, tile: Counters, step: Reduce, block: int) -> None:
        """All of `into`'s rows as one matrix: the sources where they lie so, else copies from slot `block` on."""
        script, name, of = self.script, self.script.name, into.of
        self._held, script.above = [], SOURCE
        first = step.sources[0] if step.is_block else block
        if not step.is_block:
            script.lines += [
                f"{name('s', block + index)}.copy_({name('s', source)})" for index, source in enumerate(step.sources)
            ]
        rows = f"{name('s', first)}.as_strided([{of.rows}, n], [s[{first}].size(0), 1])"
        has = ", ".join(map(str, (into.width, *of.has)))
        tensors = ", ".join([script.tensor(each) for each in (*tile.tensors, into.like, into.places)])
        run, first_run = [f"{at} // {CHUNK_ELEMENTS}" for at in ("(start + i)", "start")]
        sampling = f"{script.integer(into.stride)}, {script.number(of.ceiling)}"
        numbers = f"{script.number(of.limit)}, {script.number(into.tolerance)}"
        script.lines.append(
            f"look_at({rows}, {tensors}, {run}, {run} - {first_run}, {sampling}, {has}, {numbers}, looked)"
        )

    def _double(self, slot: int, keep: int) -> str:
        if slot not in self._held:
            if len(self._held) < 2:
                self._held.append(slot)
            else:
                self._held[int(self._held[0] == keep)] = slot
            run = self.script.name("d", self._held.index(slot))
            self.script.lines.append(f"{run}.copy_({self.script.name('s', slot)})")
        return self.script.name("d", self._held.index(slot))
