"""Tensors that are not computed on (integers, masks): are they the same in every input? Before anything is merged."""

from __future__ import annotations

from collections.abc import Sequence

from mergegraph.errors import Problem, RunError
from mergegraph.execute.views import Source
from mergegraph.expr import Read
from mergegraph.plan.compile import Comparison
from mergegraph.units import format_count

_CHUNK_BYTES = 1 << 20


def compare_uncomputed(comparisons: Sequence[Comparison], source: Source, *, strict: bool) -> list[Problem]:
    """One warning for all differences; RunError instead when `strict`."""
    differing = [each for each in comparisons if not _equal(each.kept, each.other, source)]
    if twice := [each for each in differing if each.must_agree]:
        raise RunError(*map(_not_tied, twice))
    if not differing:
        return []
    first, count = differing[0], len({each.tensor for each in differing})
    problem = Problem(
        f"{format_count(count, 'tensor')} of integers or masks {'differs' if count == 1 else 'differ'} between the "
        "inputs; the trunk's bytes are kept.",
        node=first.node,
        tensor=first.tensor,
        why=f"{first.kept.path} and {first.other.path} hold other values",
        fix="check that the inputs are fine-tunes of one base" if strict else "--strict-integers makes this an error",
        severity="error" if strict else "warning",
    )
    if strict:
        raise RunError(problem)
    return [problem]


def _not_tied(each: Comparison) -> Problem:
    return Problem(
        f"The config ties head and embedding, and {each.tensor} holds other numbers than {each.kept.name}.",
        node=each.node, tensor=each.tensor,
        why="a tied model has one tensor for both, so the merge would lose one of the two that are stored",
        fix="set tie_word_embeddings to false in the config.json of the model, if its head was trained apart",
    )  # fmt: skip


def _equal(kept: Read, other: Read, source: Source) -> bool:
    if (kept.nbytes, kept.dtype) != (other.nbytes, other.dtype):
        return False
    ours, theirs = bytearray(_CHUNK_BYTES), bytearray(_CHUNK_BYTES)
    for start in range(0, kept.nbytes, _CHUNK_BYTES):
        count = min(_CHUNK_BYTES, kept.nbytes - start)
        source(kept.path, kept.offset + start, memoryview(ours)[:count])
        source(other.path, other.offset + start, memoryview(theirs)[:count])
        if ours[:count] != theirs[:count]:
            return False
    return True
