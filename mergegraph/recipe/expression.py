"""Arithmetic on nodes: which delta, scale, negate, sum and soup nodes compute `base + 0.6*(code - base)`.

An expression is a sum of terms, a coefficient times an atom (a node, or what a parenthesis made). Where coefficients
of weights add to 0 they are a difference and become deltas; where they add to 1 they are an average and become a soup
(or, for a single one, the model that deltas are added to); at the top nothing else has a meaning. A parenthesis that
is neither distributes. Coefficients are exact fractions: each float that is written out is the decimal that was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from mergegraph.errors import Problem
from mergegraph.expr import Space
from mergegraph.fields import Input, WeightedInput
from mergegraph.methods import linear
from mergegraph.methods.base import Method
from mergegraph.recipe import grammar
from mergegraph.recipe.grammar import ExpressionError as ExpressionError
from mergegraph.recipe.grammar import Factors, Group, Name, Scaled, Sum, Tree, is_exact, times, value_of
from mergegraph.recipe.scalars import plain_decimal

_ONE = (Fraction(1),)


@dataclass(frozen=True)
class _Delta:
    model: _Atom
    base: _Atom


@dataclass(frozen=True)
class _Soup:
    terms: tuple[_Term, ...]


@dataclass(frozen=True)
class _Scale:
    by: Fraction
    of: _Atom


@dataclass(frozen=True)
class _Total:
    terms: tuple[_Atom, ...]


_Atom: TypeAlias = "str | _Delta | _Soup | _Scale | _Total"
_Term: TypeAlias = "tuple[Factors, _Atom]"


def names(text: str) -> tuple[str, ...]:
    """The node names that an expression uses, each once. ExpressionError when it is not one."""
    return grammar.names_in(text)


def expand(name: str, text: str, space_of: Callable[[str], Space]) -> list[tuple[str, Method]]:
    """The nodes that compute `text`, inputs before users: inner ones `name.1`, `name.2`, …, the last one `name`.

    `space_of` tells the space of each node that `text` names. ExpressionError when its terms do not fit together.
    """
    expansion = _Expansion(name, text, space_of)
    expansion.write(expansion.root(expansion.terms(grammar.parse(text))))
    return expansion.made


class _Expansion:
    """One expression on its way to nodes. Equal inner results are one node."""

    def __init__(self, name: str, text: str, space_of: Callable[[str], Space]) -> None:
        self.name, self.text, self.space_of = name, text, space_of
        self.made: list[tuple[str, Method]] = []
        self.written: dict[_Atom, str] = {}

    def is_weights(self, atom: _Atom) -> bool:
        return self.space_of(atom) == "weights" if isinstance(atom, str) else isinstance(atom, _Soup)

    def error(self, fact: str, fix: str) -> ExpressionError:
        return ExpressionError(Problem(fact, why=f"the expression is {self.text.strip()}", fix=fix))

    def terms(self, tree: Tree) -> list[_Term]:
        match tree:
            case Name(name):
                return [(_ONE, name)]
            case Scaled(by, of):
                return [(times(by, factors), atom) for factors, atom in self.terms(of)]
            case Sum(trees):
                return _merged(term for each in trees for term in self.terms(each))
            case Group(of):
                return self.grouped(self.terms(of))

    def grouped(self, terms: list[_Term]) -> list[_Term]:
        """What a parenthesis makes of its terms: a difference, an average, or just the terms."""
        weights = [term for term in terms if self.is_weights(term[1])]
        deltas = [term for term in terms if not self.is_weights(term[1])]
        if weights and _sum(weights) == 0:
            left = _merged([*self.differences(weights), *deltas])
            if not left:
                raise self.error(
                    "The models cancel out: nothing is left.", "change a coefficient, or remove the expression"
                )
            return left
        if len(weights) > 1 and _sum(weights) == 1:
            return [(_ONE, _Soup(tuple(weights))), *deltas]
        return terms

    def differences(self, weights: list[_Term]) -> list[_Term]:
        """Weights whose coefficients add to 0, as deltas against the one that stands alone on its side."""
        added = [term for term in weights if value_of(term[0]) > 0]
        taken = [term for term in weights if value_of(term[0]) < 0]
        bases, models = (taken, added) if len(taken) == 1 else (added, taken)
        if len(bases) > 1:
            raise self.error(
                f"A difference of {len(added)} models and {len(taken)} models has no one base.",
                f"put each difference in its own parentheses, as ({_text(bases[0][1])} - {_text(models[0][1])})",
            )
        return [(factors, _Delta(atom, base)) for factors, atom in models for _, base in bases]

    def root(self, terms: list[_Term]) -> _Atom:
        """The whole expression as one atom that is not a bare name."""
        if not terms:
            raise self.error(
                "Everything cancels out: nothing is left.", "change a coefficient, or remove the expression"
            )
        terms = self.grouped(terms)
        weights = [term for term in terms if self.is_weights(term[1])]
        if weights and _sum(weights) != 1:
            raise self.not_an_average(weights, has_deltas=len(weights) < len(terms))
        deltas = [term for term in terms if not self.is_weights(term[1])]
        first, *rest = [_scaled(factors, atom) for factors, atom in (*weights, *deltas)]
        if rest:
            return _Total((first, *rest))
        return _Scale(Fraction(1), first) if isinstance(first, str) else first

    def not_an_average(self, weights: list[_Term], *, has_deltas: bool) -> ExpressionError:
        total = _sum(weights)
        fact = f"The expression adds weights with coefficients that add to {_shown(total)}: "
        fact += "an average needs them to add to 1."
        (first, atom), rest = weights[0], weights[1:]
        shares = [(value_of(factors) / total, each) for factors, each in weights]
        if not rest:
            fix = f"scale what training changed: BASE + {_shown(value_of(first))}*({_text(atom)} - BASE)"
        elif not has_deltas and all(_is_short(share) for share, _ in shares):
            fix = f"to average, write {_written_sum(shares)}; to add what training changed, subtract a base: "
            fix += f"{_text(atom)} + ({_text(rest[0][1])} - BASE)"
        else:
            fix = f"subtract a base: {_text(atom)} + ({_text(rest[0][1])} - BASE); or make a node for the average: "
            fix += f"{{op: soup, inputs: [{', '.join(_weighed(*each) for each in weights)}]}}"
        return self.error(fact, fix)

    def write(self, root: _Atom) -> None:
        """Append the nodes of `root`, which takes the expression's own name."""
        inputs = self.inputs(root)
        self.made.append((self.name, self.method(root, inputs)))

    def inputs(self, atom: _Atom) -> list[str]:
        """The names of the nodes an atom is made from, written before it."""
        return [self.node(each) for each in _parts(atom)]

    def node(self, atom: _Atom) -> str:
        if isinstance(atom, str):
            return atom
        if atom not in self.written:
            method = self.method(atom, self.inputs(atom))
            self.written[atom] = f"{self.name}.{len(self.made) + 1}"
            self.made.append((self.written[atom], method))
        return self.written[atom]

    def method(self, atom: _Atom, inputs: list[str]) -> Method:
        match atom:
            case _Delta():
                return linear.Delta(model=inputs[0], base=inputs[1])
            case _Scale(by, of):
                if by == -1 and not self.is_weights(of):
                    return linear.Negate(input=inputs[0])
                return linear.Scale(input=inputs[0], by=float(by))
            case _Total():
                return linear.Sum(inputs=tuple(Input.model_validate(name) for name in inputs))
            case _Soup(terms):
                weights = [float(factors[-1]) for factors, _ in terms]
                sources = [{"from": name, "weight": weight} for name, weight in zip(inputs, weights, strict=True)]
                is_average = all(len(factors) == 1 for factors, _ in terms)
                models = tuple(WeightedInput.model_validate(source) for source in sources)
                return linear.Soup(inputs=models, models=None, last=None, normalize=is_average)
            case str():
                raise AssertionError("a name is a node already")


def _parts(atom: _Atom) -> Iterable[_Atom]:
    match atom:
        case str():
            return ()
        case _Delta(model, base):
            return model, base
        case _Scale(of=of):
            return (of,)
        case _Total(terms):
            return terms
        case _Soup(terms):
            # A coefficient that no float can say is a product: all but its last factor scale the model first.
            return [_scaled(factors[:-1], each) for factors, each in terms]


def _merged(terms: Iterable[_Term]) -> list[_Term]:
    """Terms with equal atoms added up, where the sum is exact; those that cancel are gone."""
    merged: dict[tuple[_Atom, int], Factors] = {}
    for factors, atom in terms:
        copy = 0
        while (atom, copy) in merged and not is_exact(value_of(merged[atom, copy]) + value_of(factors)):
            copy += 1
        if (atom, copy) not in merged:
            merged[atom, copy] = factors
        elif total := value_of(merged[atom, copy]) + value_of(factors):
            merged[atom, copy] = (total,)
        else:
            del merged[atom, copy]
    return [(factors, atom) for (atom, _), factors in merged.items()]


def _sum(terms: list[_Term]) -> Fraction:
    return sum((value_of(factors) for factors, _ in terms), Fraction(0))


def _scaled(factors: Factors, atom: _Atom) -> _Atom:
    for factor in factors:
        atom = atom if factor == 1 else _Scale(factor, atom)
    return atom


def _weighed(factors: tuple[Fraction, ...], atom: _Atom) -> str:
    """`{from: a, weight: 0.6}`: an input of a soup, which divides by the sum of the weights."""
    weight = _shown(value_of(factors))
    return _text(atom) if weight == "1" else f"{{from: {_text(atom)}, weight: {weight}}}"


def _is_short(number: Fraction) -> bool:
    return is_exact(number) and len(_shown(number)) <= 8


def _shown(number: Fraction | int) -> str:
    number = Fraction(number)
    decimal = Decimal(number.numerator) / Decimal(number.denominator)
    return plain_decimal(decimal) if Fraction(decimal) == number else f"about {float(number):.6g}"


def _written_sum(terms: list[tuple[Fraction, _Atom]]) -> str:
    parts = [f"{'-' if number < 0 else '+'} {_shown(abs(number))}*{_text(atom)}" for number, atom in terms]
    return " ".join(parts).removeprefix("+ ").replace("- ", "-", int(parts[0].startswith("-")))


def _text(weights: _Atom) -> str:
    """Weights as a person could write them."""
    match weights:
        case str():
            return weights
        case _Soup(terms):
            return f"({_written_sum([(value_of(factors), each) for factors, each in terms])})"
        case _:
            raise AssertionError("weights inside an expression are a name or an average")
