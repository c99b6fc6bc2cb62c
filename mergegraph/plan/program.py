"""Expressions that share reads become one program: passes over a few numbered slots, tile by tile.

A statistic is fed in the pass after those that it needs itself; what it looks at is computed there again. Pure:
allocates nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

from mergegraph.dtypes import BY_CODE
from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Noise, Part, Product, Read, Stat, as_matrix
from mergegraph.methods.kernel import Granularity
from mergegraph.methods.registry import kernels
from mergegraph.plan.emit import Emitter, as_double, as_single
from mergegraph.plan.extent import Extent, extent
from mergegraph.plan.steps import (
    Accumulate,
    Call,
    Copy,
    Fetch,
    Join,
    Multiply,
    Program,
    Reduce,
    Reduction,
    Scaled,
    Split,
    Step,
    Store,
    Zero,
)  # fmt: skip
from mergegraph.statistic import phases
from mergegraph.walking import operands, parts, walk_parts
from mergegraph.walking import reads as reads_of


@dataclass(frozen=True, slots=True)
class Computation:
    """A program and what its steps name by number: stored tensors, noises, and statistics of populations.

    Statistics are numbered: first the program's own reductions, then `shared`, those of populations.
    """

    program: Program
    reads: tuple[Read, ...]
    noises: tuple[Noise, ...] = ()
    shared: tuple[Stat, ...] = ()


def computes_in_double(reads: Iterable[Read]) -> bool:
    """Float64 where any input of the tensor is float64."""
    return any([read.dtype == "F64" for read in reads])


def granularity_of(*parts: Part) -> Granularity:
    """What a tile must be for all of these: whole matrices or rows where any kernel needs them."""
    needed = {kernels()[part.kernel].granularity for part in parts if isinstance(part, Apply)}
    needed |= {"row" for part in parts if isinstance(part, Product)}
    needed |= {"matrix" for part in parts if isinstance(part, Joined)}
    return "matrix" if "matrix" in needed else "row" if "row" in needed else "element"


def extent_of(root: Expr, shape: tuple[int, ...], *below: Part) -> Extent:
    """How a tensor of `shape` is cut; `below` are the parts of `root`, where they are known.

    Matrices that are put together are one tile; where factors are computed for them, that of the matrix they are of.
    """
    if isinstance(root, Cast) and isinstance(root.operand, Joined):
        computed = [part.shape for _, part in root.operand.terms if isinstance(part, Factor)]
        return extent(computed[0] if computed else (shape[0], prod(shape[1:])), "matrix")
    return extent(shape, granularity_of(*(below or walk_parts(root))))


def computation(roots: Sequence[Expr], feeds: Sequence[Feed] = (), *, double: bool = False) -> Computation:
    """The steps that compute `roots` (each a `Cast`, or a `Read` to copy), in order.

    The last pass also feeds reductions that are the caller's: one for each of `feeds`, numbered after all others.
    `double`: in float64 even where no input is. Most tensors of a model differ only in what they read, so the
    programs of equal outlines are one object.
    """
    key, found = outline([*roots, *chain.from_iterable(feeds)])
    key = (key, tuple(map(len, feeds)), double)
    known = _programs.get(key)
    if known is None:
        if len(_programs) >= _PROGRAMS_KEPT:
            _programs.clear()
        known = _programs[key] = _program(roots, feeds, found, double)
    return Computation(known, found.reads, found.noises, found.shared)


Feed = tuple[Expr, ...]
"""What an accumulator of the caller's is fed with, tile by tile."""
Fed = tuple[int, tuple[Expr, ...]]
"""A reduction by number, and what it is fed with."""
_programs: dict[object, Program] = {}
_PROGRAMS_KEPT = 10_000
"""A search that plans thousands of recipes in one process must not keep them all."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """What an outline leaves out, in the order it is first needed."""

    reads: tuple[Read, ...]
    noises: tuple[Noise, ...]
    shared: tuple[Stat, ...]


def outline(roots: Sequence[Expr]) -> tuple[object, Leaves]:
    """(what the roots are, up to which tensors and noises they take; those)."""
    index: dict[Part, int] = {}
    entries: list[object] = []
    reads: list[Read] = []
    noises: list[Noise] = []
    shared: list[Stat] = []
    for part in walk_parts(*roots):
        match part:
            case Read():
                reads.append(part)
                entry: object = (part.dtype, part.scale is not None)
            case Linear():
                entry = tuple([(*c.as_integer_ratio(), index[x]) for c, x in part.terms])
            case Apply():
                entry = (part.kernel, tuple([index[x] for x in parts(part)]), _typed(part.parameters))
            case Noise():
                noises.append(part)
                entry = "noise"
            case Stat(population=None):
                entry = (part.kind, tuple([index[x] for x in part.operands]), _typed(part.parameters), "stat")
            case Stat():
                shared.append(part)
                entry = "shared"
            case Cast():
                entry = (index[part.operand], part.dtype)
            case Product():
                shape = (part.rank, part.columns, part.is_transposed)
                entry = (index[part.left], index[part.right], shape, "product")
            case Factor():
                entry = (index[part.operand], part.rank, part.side, part.shape)
            case Joined():
                terms = [(*c.as_integer_ratio(), index[x], as_matrix(x)) for c, x in part.terms]
                entry = (tuple(terms), part.axis, "joined")
        index[part] = len(entries)
        entries.append(entry)
    key = (tuple(entries), tuple([index[root] for root in roots]))
    return key, Leaves(tuple(reads), tuple(noises), tuple(shared))


def _typed(parameters: tuple[tuple[str, object], ...]) -> object:
    """1, 1.0 and True are equal, and a kernel may tell them apart."""
    return parameters, tuple([type(value) for _, value in parameters])


def _program(roots: Sequence[Expr], feeds: Sequence[Feed], found: Leaves, double: bool) -> Program:
    fed_exprs = list(chain.from_iterable(feeds))
    double = double or computes_in_double(reads_of(*(root for root in roots if isinstance(root, Cast)), *fed_exprs))
    bits = 64 if double else 32
    own = [part for part in walk_parts(*roots, *fed_exprs) if isinstance(part, Stat) and part.population is None]
    first = _first_passes(own, bits)
    reductions = tuple([Reduction(x.kind, x.parameters, first[x], phases(x.kind, bits)) for x in own])
    numbered: dict[Part, int] = {part: n for kind in (found.reads, found.noises) for n, part in enumerate(kind)}
    numbered |= {part: n for n, part in enumerate([*own, *found.shared])}
    last = max((each.first_pass + each.passes for each in reductions), default=0)
    fed: list[list[Fed]] = [[] for _ in range(last + 1)]
    for number, (stat, reduction) in enumerate(zip(own, reductions, strict=True)):
        for index in range(reduction.first_pass, reduction.first_pass + reduction.passes):
            fed[index].append((number, stat.operands))
    given = len(own) + len(found.shared)
    looks = [(given + n, feed) for n, feed in enumerate(feeds)]
    by_number = dict(enumerate([*own, *found.shared]))
    emitted = [_pass(each, (), (), numbered, by_number, double) for each in fed[:last]]
    emitted.append(_pass(fed[last], roots, looks, numbered, by_number, double))
    everything = list(walk_parts(*roots, *fed_exprs))
    return _sized(emitted, double, reductions, everything, given)


def _first_passes(stats: Sequence[Stat], bits: int) -> dict[Stat, int]:
    """The pass in which each statistic is fed first: after all that its operands need. Inner ones come first."""
    first: dict[Stat, int] = {}
    for each in stats:
        inner = [part for part in walk_parts(*each.operands) if isinstance(part, Stat) and part.population is None]
        first[each] = max((first[x] + phases(x.kind, bits) for x in inner), default=0)
    return first


def _pass(
    wanted: Sequence[Fed],
    roots: Sequence[Expr],
    looks: Sequence[Fed],
    numbered: Mapping[Part, int],
    statistics: Mapping[int, Stat],
    double: bool,
) -> Emitter:
    """The steps of one pass: `wanted` statistics are fed, `roots` stored, then the caller's reductions fed, which may
    write to what nobody needs any more."""
    uses: Counter[Expr] = Counter(operand for _, fed in (*wanted, *looks) for operand in fed)
    uses.update(root.operand for root in roots if isinstance(root, Cast) and not isinstance(root.operand, Joined))
    uses.update(part for root in roots if isinstance(root, Cast) and isinstance(root.operand, Joined)
                for part in operands(root.operand))  # fmt: skip
    for part in walk_parts(*uses, below=operands):
        uses.update(operands(part))
    emitter = Emitter(uses, as_double if double else as_single, numbered, statistics)
    for _, fed in (*wanted, *looks):
        # Products of the same tiles are fed one after the other, so that each tile is converted once.
        if len(fed) > 1:
            _ = [emitter.value(expr) for expr in fed]
    for stat, fed in wanted:
        emitter.reduce(stat, fed)
    for position, root in enumerate(roots):
        emitter.root(position, root)
    for stat, fed in looks:
        emitter.reduce(stat, fed)
    return emitter


def _sized(
    emitted: Sequence[Emitter], double: bool, reductions: tuple[Reduction, ...], everything: Sequence[Part], given: int
) -> Program:
    granularity = granularity_of(*everything)
    place = {part: n for n, part in enumerate(everything)}
    steps = [step for each in emitted for step in each.steps]
    compute_bits = 64 if double else 32
    fetched = [BY_CODE[step.dtype].bits for step in steps if isinstance(step, Fetch)]
    staged = [bits for bits in fetched if bits != compute_bits]
    staged += [BY_CODE[step.dtype].bits for step in steps if isinstance(step, Copy)]
    out = [BY_CODE[step.dtype].bits for step in steps if isinstance(step, Store)]
    passes = [[BY_CODE[step.dtype].bits for step in each.steps if isinstance(step, Fetch)] for each in emitted]
    all_at_once = max(passes, key=sum)
    return Program(
        passes=tuple([tuple(each.steps) for each in emitted]),
        slots=max(each.count for each in emitted),
        double=double,
        raw_bits=max(staged, default=0),
        out_bits=max(out, default=0),
        reductions=reductions,
        granularity=granularity,
        in_pieces=_in_pieces(steps, compute_bits, granularity) and max(sum(all_at_once), sum(out)) <= _MOST_STAGED_BITS,
        slots_of=tuple([each.count for each in emitted]),
        staged=tuple(all_at_once),
        stored=tuple(out),
        given=given,
        parts=tuple([tuple([-1 if part is None else place[part] for part in each.parts]) for each in emitted]),
    )


_MOST_STAGED_BITS = 1_024
"""Of an element of all inputs, or of all outputs: with more a tile of 65,536 elements would take more than 8 MiB."""
_PLAIN = frozenset({"F32", "F16", "BF16"})


def _in_pieces(steps: Sequence[Step], compute_bits: int, granularity: Granularity) -> bool:
    """Whether every step can be performed on a part of a tile, in operations that `execute.recording` knows."""
    if compute_bits != 32 or granularity != "element":
        return False
    return all([_step_in_pieces(step) for step in steps])


def _step_in_pieces(step: Step) -> bool:
    match step:
        case Fetch(dtype=dtype, is_scaled=is_scaled):
            return dtype in _PLAIN and not is_scaled
        case Store(dtype=dtype):
            return dtype in _PLAIN
        case Call(kernel=kernel):
            return kernels()[kernel].in_pieces
        case Zero() | Scaled() | Accumulate() | Reduce():
            return True
        case Multiply() | Split() | Join() | Copy():
            return False
