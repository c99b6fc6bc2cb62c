"""Sequences of torch operations as one function, which runs without the interpreter's lock.

Between any two operations a Python thread gives the lock back and waits for it again: with two workers on pieces that
stay in the cache that takes longer than the arithmetic. So what a pass does to a piece is written down as source text,
compiled once as TorchScript, and called for a whole tile. The text is plain Python as well: where torch has no
TorchScript any more, the same text runs as a function of Python's, slower, with the same bits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor

from mergegraph.execute.noise import BLOCK_ELEMENTS, FIRST, SECOND
from mergegraph.plan.memory import TEXTS_KEPT

_SIGN: Final = 1 << 31
MAGNITUDE: Final = (1 << 31) - 1
"""All bits of a float32 but its sign; larger than those of any."""


def signed(word: int) -> int:
    """The int32 with the bits of a 32-bit word."""
    return (word & 0xFFFFFFFF ^ _SIGN) - _SIGN


# The rounds of `execute.noise`. torch has no unsigned arithmetic: signed numbers wrap around in the same way, and a
# logical shift is an arithmetic one with the sign's copies masked away.
_PRELUDE: Final = f"""
def words_of(x: Tensor, v: Tensor, mixed: Tensor, low: int, high: int):
    torch.bitwise_xor(mixed, low, out=x)
    x.mul_({signed(int(FIRST))})
    torch.bitwise_right_shift(x, 15, out=v)
    v.bitwise_and_({(1 << 17) - 1})
    v.bitwise_xor_(high)
    x.bitwise_xor_(v)
    x.mul_({signed(int(SECOND))})
    x.bitwise_right_shift_(8)
    x.bitwise_and_({(1 << 24) - 1})


def draw_equal(out: Tensor, given: Tensor, words: Tensor, equal: Tensor, mixed: Tensor, low: int, high: int,
               limit: int, size: int):
    if limit > 0:
        words_of(words, equal, mixed, low, high)
        torch.lt(words, limit, out=words)
        torch.bitwise_and(given, {MAGNITUDE}, out=equal)
        torch.eq(equal, size, out=equal)
        words.mul_(equal)
        words.neg_()
        words.bitwise_and_(given)
        out.bitwise_or_(words)


def count_bits(w: Tensor, bits: Tensor, inside: Tensor, spare: Tensor, c: List[int]) -> Tuple[List[int], Tensor]:
    found: List[int] = []
    torch.bitwise_and(w, {MAGNITUDE}, out=bits)
    if c[2] > 0:
        found.append(int(bits.count_nonzero()))
    bits.sub_(c[0])
    if c[1] > 0:
        torch.lt(bits, c[1], out=inside)
    if c[3] > 0:
        found.append(w.numel() - int(inside.sum(dtype=torch.int32)))
    bits.clamp_(min=-1)
    for value in c[6:]:
        torch.eq(bits, value, out=spare)
        found.append(int(spare.sum(dtype=torch.int32)))
        spare.mul_(value + 1)
        bits.sub_(spare)
    bits.bitwise_right_shift_(c[4])
    bits.add_(1)
    if c[1] > 0:
        bits.mul_(inside)
    if c[5] > 0:
        part = torch.bincount(bits, minlength=c[5])
    else:
        part = torch.index_select(bits, 0, torch.nonzero(bits).view(-1))
    return found, part


def run_pieces(s: List[Tensor], w: List[Tensor], r: List[Tensor], o: List[Tensor], d: List[Tensor], x: List[Tensor],
               mixed: Tensor, t: List[Tensor], f: List[float], k: List[int], q: List[int], c: List[List[int]],
               e: List[Tensor], start: int, first: int, last: int,
               step: int) -> Tuple[List[int], List[float], List[int], List[Tensor], List[Tensor], List[int]]:
    laps: List[int] = []
    counts: List[int] = []
    sums: List[float] = []
    tallies: List[int] = []
    chosen: List[Tensor] = []
    looked: List[Tensor] = []
    i = first
    while i < last:
        n = min(step, last - i)
"""


@dataclass
class Script:
    """What is done to a piece, in lines, and the numbers that the lines take.

    The lines see `n` elements from `i` on of what they name: s<slot>, w<slot> (its bits as int32), r<raw>, o<out>,
    d<run of float64>, x<run of int32>. f, t (as a tensor without dimensions, float32) and k (integers) hold the
    numbers, q the keys of random numbers, two for each block, c what quantiles count, and e tensors: equal programs
    give equal lines, whatever their numbers. `above` is the text of functions that they call. `timed`: which steps end
    with a lap, in order.
    """

    lines: list[str] = field(default_factory=list[str])
    names: set[str] = field(default_factory=set[str])
    floats: list[float] = field(default_factory=list[float])
    scalars: list[float] = field(default_factory=list[float])
    integers: list[int] = field(default_factory=list[int])
    keys: list[int] = field(default_factory=list[int])
    counting: list[list[int]] = field(default_factory=list[list[int]])
    tensors: list[Tensor] = field(default_factory=list[Tensor])
    above: str = ""
    sums: int = 0
    stores: int = 0
    noises: int = 0
    timed: list[int] = field(default_factory=list[int])

    def lap(self, step: int) -> None:
        """What was written since the last lap is of `step`: its nanoseconds go to `laps`."""
        self.timed.append(step)
        self.lines += [f"now = {_CLOCK}", "laps.append(now - before)", "before = now"]

    def name(self, kind: str, index: int) -> str:
        """The name of a slot, its bits, a raw or an out buffer."""
        self.names.add(f"{kind}{index}")
        return f"{kind}{index}"

    def number(self, value: float) -> str:
        """A plain number in a line."""
        self.floats.append(value)
        return f"f[{len(self.floats) - 1}]"

    def scalar(self, value: float) -> str:
        """A number where an operation with `out` takes a tensor only."""
        self.scalars.append(value)
        return f"t[{len(self.scalars) - 1}]"

    def integer(self, value: int) -> str:
        """A whole number in a line."""
        self.integers.append(value)
        return f"k[{len(self.integers) - 1}]"

    def tensor(self, value: Tensor) -> str:
        """A tensor in a line."""
        self.tensors.append(value)
        return f"e[{len(self.tensors) - 1}]"

    @property
    def text(self) -> str:
        """The function's source."""
        views = [_VIEW[name[0]].format(name=name, index=name[1:]) for name in sorted(self.names)]
        begin = _NOISE_VIEWS if self.noises else []
        watch = [f"before = {_CLOCK}"] if self.timed else []
        body = "\n".join(" " * 8 + line for line in (*begin, *views, *watch, *self.lines, "i += n"))
        return f"{self.above}{_PRELUDE}{body}\n    return counts, sums, tallies, chosen, looked, laps\n"


_CLOCK: Final = "torch.ops.prim.TimePoint()"
"""Nanoseconds; the one clock that TorchScript has."""
_VIEW: Final = {
    "s": "{name} = s[{index}].narrow(0, 0, n)",
    "w": "{name} = w[{index}].narrow(0, 0, n)",
    "d": "{name} = d[{index}].narrow(0, 0, n)",
    "x": "{name} = x[{index}].narrow(0, 0, n)",
    "r": "{name} = r[{index}].narrow(0, i, n)",
    "o": "{name} = o[{index}].narrow(0, i, n)",
}
_NOISE_VIEWS: Final = [
    f"offset = (start + i) % {BLOCK_ELEMENTS}",
    f"n = min(n, {BLOCK_ELEMENTS} - offset)",
    f"b = 2 * ((start + i) // {BLOCK_ELEMENTS} - start // {BLOCK_ELEMENTS})",
    "m = mixed.narrow(0, offset, n)",
]


@dataclass(frozen=True)
class Buffers:
    """What the lines of a script work on: slots of a piece and their bits as int32, the tile's raw and out buffers,
    two runs of float64, and the same memory as four runs of int32."""

    slots: Sequence[Tensor]
    words: Sequence[Tensor]
    raw: Sequence[Tensor]
    out: Sequence[Tensor]
    doubles: Sequence[Tensor]
    integers: Sequence[Tensor]


Counts = tuple[list[int], list[float], list[int], list[Tensor], list[Tensor], list[int]]
"""For each piece in turn: how many values are not finite and how many did not fit, for each store; the sums; what
quantiles count, as numbers and as tensors; what `counting.look_at` finds; and the laps."""


Runner = Callable[[int, int], Counts]
"""Runs a script on elements `first … last` of its tile."""


def runner(script: Script, given: Buffers, start: int, step: int) -> Runner:
    """What runs a script on the tile in `given`, which begins at element `start`, `step` elements at a time."""
    function = _function(script.text)
    scalars = [torch.tensor(value, dtype=torch.float32) for value in script.scalars]
    buffers = [list(each) for each in (given.slots, given.words, given.raw, given.out, given.doubles, given.integers)]
    numbers = (_mixed(), scalars, script.floats, script.integers, script.keys, script.counting, script.tensors, start)

    def run(first: int, last: int) -> Counts:
        with unoptimised():
            return function(*buffers, *numbers, first, last, step)

    return run


_functions: OrderedDict[str, Callable[..., Counts]] = OrderedDict()
_lock = threading.Lock()


def _function(text: str) -> Callable[..., Counts]:
    with _lock:
        if text not in _functions:
            if len(_functions) >= TEXTS_KEPT:
                _functions.popitem(last=False)
            _functions[text] = (compiled if _jit("CompilationUnit") else interpreted)(text)
        _functions.move_to_end(text)
        return _functions[text]


def _jit(name: str) -> Any:
    """Something of `torch.jit`; None where it is no more."""
    return getattr(getattr(torch, "jit", None), name, None)


def unoptimised() -> AbstractContextManager[None]:
    """Calls inside run as they are written. Nothing here can be fused: to look for it takes 30 ms for each text and
    thread, and as much memory again."""
    context = _jit("optimized_execution")
    return context(False) if context else nullcontext()


def warm_up() -> None:
    """Run the smallest script, so that what torch sets up for the first one is there before anything is measured."""
    slot = torch.zeros(1)
    given = Buffers([slot], [slot.view(torch.int32)], [], [], [], [])
    runner(Script(["s0.zero_()"], {"s0"}), given, 0, 1)(0, 1)


def compiled(text: str) -> Callable[..., Counts]:
    """The function as TorchScript."""
    return torch.jit.CompilationUnit(text).run_pieces


def interpreted(text: str) -> Callable[..., Counts]:
    """The function as Python runs it."""
    return _executed(text).run_pieces


def functions(text: str) -> Any:
    """All functions of a text, compiled where that is possible."""
    return torch.jit.CompilationUnit(text) if hasattr(torch.jit, "CompilationUnit") else _executed(text)


def _executed(text: str) -> SimpleNamespace:
    known: dict[str, Any] = {"torch": torch, "Tensor": Tensor, "List": list, "Tuple": tuple}
    exec(compile(text, "<pieces>", "exec"), known)
    return SimpleNamespace(**known)


@cache
def _mixed() -> Tensor:
    """The hashes of `noise.MIXED` as int32."""
    import numpy as np

    from mergegraph.execute.noise import MIXED

    return torch.from_numpy(MIXED.view(np.int32))  # pyright: ignore[reportUnknownMemberType]
