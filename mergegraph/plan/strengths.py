"""How strongly each source enters an output, read off what is computed: exact, and with a base or without.

Of the record alone this is `mergegraph.stats.strengths`, which needs a base: models themselves are nearly parallel, and
least squares cannot tell their shares. Reads no weights.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

from mergegraph.expr import Expr, Linear, Part
from mergegraph.naming import role
from mergegraph.plan.survey import Looked, Survey
from mergegraph.stats.hints import Strengths
from mergegraph.walking import operands, walk_parts

_Terms = dict[Part, Fraction]
_ONE = Fraction(1)


def strengths_in(survey: Survey) -> Strengths | None:
    """The c_i of W* = W0 + Σ c_i τ_i in each kind of tensor, as `mergegraph.stats.hints` takes them: None for kinds
    where the result is no such combination, or where c_i changes from tensor to tensor. None where nothing is made."""
    if not survey.result:
        return None
    by_kind: defaultdict[str, set[tuple[Fraction, ...] | None]] = defaultdict(set)
    for tensor in survey.tensors:
        if tensor.result is not None and any(_terms(change) for change in tensor.changes):
            by_kind[role(tensor.name).kind].add(_coefficients(tensor))
    known = {kind: _one_of(found, len(survey.sources)) for kind, found in by_kind.items()}
    return {name: {kind: each[i] for kind, each in known.items()} for i, name in enumerate(survey.sources)}


def _one_of(found: set[tuple[Fraction, ...] | None], count: int) -> tuple[float | None, ...]:
    """Source by source, where all tensors of a kind have the same."""
    if None in found:
        return (None,) * count
    columns = zip(*[each for each in found if each is not None], strict=True)
    return tuple([float(column[0]) if len(set(column)) == 1 else None for column in columns])


def _coefficients(tensor: Looked) -> tuple[Fraction, ...] | None:
    """c_1 … c_k; None where there are none, or several."""
    assert tensor.result is not None
    left = _terms(tensor.result)
    base = _terms(tensor.base) if tensor.base is not None else {}
    _add(left, base, -_ONE)
    found: list[Fraction] = []
    for change in tensor.changes:
        terms = _terms(change)
        own = [operand for operand in terms if operand not in base]
        share = left.get(own[0], Fraction(0)) / terms[own[0]] if len(own) == 1 else Fraction(0)
        found.append(share)
        _add(left, terms, -share)
    return None if left else tuple(found)


def _terms(expr: Expr) -> _Terms:
    """What an expression adds up, each with its number; an expression of another kind is one term."""
    known: dict[Part, _Terms] = {}
    for part in walk_parts(expr, below=_added):
        if isinstance(part, Linear):
            known[part] = {}
            for coefficient, operand in part.terms:
                _add(known[part], known[operand], coefficient)
        else:
            known[part] = {part: _ONE}
    return known[expr].copy()


def _added(part: Part) -> tuple[Part, ...]:
    return operands(part) if isinstance(part, Linear) else ()


def _add(terms: _Terms, more: _Terms, factor: Fraction) -> None:
    for operand, coefficient in more.items():
        total = terms.get(operand, Fraction(0)) + factor * coefficient
        if total:
            terms[operand] = total
        else:
            terms.pop(operand, None)
