"""Simplifications of linear expressions, as small functions in `RULES`, applied bottom-up to a fixed point.

Coefficients are exact fractions, so a term that cancels is gone, and a read that nothing needs disappears.
A difference (a delta over weights) is computed first and kept: folding it into its surroundings would change
elements where fine-tune and base are equal. It is folded only where that makes a read disappear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, MutableMapping
from fractions import Fraction
from weakref import WeakKeyDictionary

from mergegraph.expr import Cast, Expr, Linear, linear
from mergegraph.walking import operands, reads, walk

Rule = Callable[[Linear], Expr]
Terms = list[tuple[Fraction, Expr]]


def simplify(expr: Expr) -> Expr:
    """`expr` after every rule; its operands are simplified already."""
    while isinstance(expr, Linear):
        before = expr
        for rule in RULES:
            expr = rule(expr)
            if not isinstance(expr, Linear):
                break
        if expr is before:
            break
    return expr


def flatten(expr: Linear) -> Linear:
    """Σ a (Σ b x) → Σ (a b) x, except across differences."""
    if not any([type(x) is Linear and not x.is_difference for _, x in expr.terms]):
        return expr
    terms: Terms = []
    for coefficient, operand in expr.terms:
        if isinstance(operand, Linear) and not operand.is_difference:
            terms += [(coefficient * inner, x) for inner, x in operand.terms]
        else:
            terms.append((coefficient, operand))
    return linear(terms, expr.space)


def merge_like_terms(expr: Linear) -> Linear:
    """One term for each operand, at its first place; a coefficient of 0 drops it and what it would read."""
    distinct = {operand for _, operand in expr.terms}
    if len(distinct) == len(expr.terms) and all([coefficient for coefficient, _ in expr.terms]):
        return expr
    return linear(_nonzero(_added_up(expr.terms)), expr.space)


def fold_vanishing_reads(expr: Linear) -> Linear:
    """`base + 1/2 (a - base) + 1/2 (b - base)` → `1/2 a + 1/2 b`: the base is never read.

    Only in weights space, and only across the differences that need the vanishing read.
    """
    if expr.space != "weights" or not any([type(x) is Linear for _, x in expr.terms]):
        return expr
    if not any(_nearly_zero(net, mass) for net, mass in _rough_sums(expr).values()):
        return expr
    terms = _multiplied_out(expr, lambda difference: True, _fully)
    remaining = _nonzero(terms)
    if len(remaining) == len(terms):
        return expr
    vanished = frozenset(reads(expr)).difference(reads(*(x for _, x in remaining)))
    if not vanished:
        return expr
    return linear(_nonzero(_multiplied_out(expr, lambda x: not vanished.isdisjoint(reads(x)), {})), expr.space)


_fully: WeakKeyDictionary[Linear, Terms] = WeakKeyDictionary()
"""Differences multiplied out down to the reads: kept with them, or 60 nested levels would cost 60³."""


def _multiplied_out(expr: Linear, opens: Callable[[Linear], bool], known: MutableMapping[Linear, Terms]) -> Terms:
    """One term for each operand of `expr` and of the differences in it that open. A coefficient may be 0.

    `known`: the differences that were multiplied out already, so that each costs its terms once.
    """
    terms: Terms = []
    for coefficient, operand in expr.terms:
        if isinstance(operand, Linear) and operand.is_difference and opens(operand):
            if operand not in known:
                known[operand] = _multiplied_out(operand, opens, known)
            terms += [(coefficient * inner, x) for inner, x in known[operand]]
        else:
            terms.append((coefficient, operand))
    return _added_up(terms)


_rough: WeakKeyDictionary[Linear, dict[Expr, tuple[float, float]]] = WeakKeyDictionary()


def _rough_sums(expr: Linear) -> dict[Expr, tuple[float, float]]:
    """(sum, sum of magnitudes) of each operand's coefficients, differences multiplied out, in floating point.

    Exact sums cost twenty times as much, and are needed only where one of these is about zero.
    """
    if expr in _rough:
        return _rough[expr]
    sums: dict[Expr, tuple[float, float]] = {}
    for coefficient, operand in expr.terms:
        factor = _as_float(coefficient)
        opened = isinstance(operand, Linear) and operand.is_difference
        inner = _rough_sums(operand) if isinstance(operand, Linear) and opened else {operand: (1.0, 1.0)}
        for x, (net, mass) in inner.items():
            before = sums.get(x, (0.0, 0.0))
            sums[x] = (before[0] + factor * net, before[1] + abs(factor) * mass)
    _rough[expr] = sums
    return sums


def _nearly_zero(net: float, mass: float) -> bool:
    """Also where either has left the range of floats."""
    return not abs(net) > 1e-9 * mass


def _as_float(coefficient: Fraction) -> float:
    try:
        return float(coefficient)
    except OverflowError:
        return math.inf


def unwrap(expr: Linear) -> Expr:
    """A lone `1 x` is x itself."""
    if len(expr.terms) == 1 and expr.terms[0][0] == 1 and expr.terms[0][1].space == expr.space:
        return expr.terms[0][1]
    return expr


RULES: tuple[Rule, ...] = (flatten, merge_like_terms, fold_vanishing_reads, unwrap)


def _added_up(terms: Iterable[tuple[Fraction, Expr]]) -> Terms:
    """One term for each operand, at its first place."""
    total: dict[Expr, Fraction] = {}
    for coefficient, operand in terms:
        total[operand] = total[operand] + coefficient if operand in total else coefficient
    return [(coefficient, operand) for operand, coefficient in total.items()]


def _nonzero(terms: Terms) -> Terms:
    return [term for term in terms if term[0]]


def check(root: Expr) -> None:
    """Assert what every simplified expression keeps: used by tests after each rewrite, never in a run."""
    for expr in walk(root):
        if isinstance(expr, Linear):
            assert all(coefficient for coefficient, _ in expr.terms), "a zero coefficient was kept"
            assert len({x for _, x in expr.terms}) == len(expr.terms), "an operand appears twice"
            assert not any(isinstance(x, Linear) and not x.is_difference for _, x in expr.terms), "not flat"
        assert not any(isinstance(x, Cast) for x in operands(expr)), "a cast below the root rounds twice"
