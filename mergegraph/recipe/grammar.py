"""The grammar of expressions: `base + 0.6*(code - base)`, from text to a small tree. Nothing is ever evaluated as code.

    sum     = product (("+" | "-") product)*
    product = factor ("*" factor)*            at most one factor is not a number
    factor  = ("+" | "-")* (number | name | "(" sum ")")

A name is that of a node, with the dots of an include and the `@` of a sweep. Numbers are exact: the decimals that are
written, multiplied and added as fractions. Knows nothing of spaces: what the tree means is `expression`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn, TypeAlias

from mergegraph.errors import Problem
from mergegraph.recipe.correcting import instead_of_function

Factors: TypeAlias = tuple[Fraction, ...]
"""A number as a product: one factor where a float can say it exactly, else as many as it takes."""

NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?:@-?[\w.]+(?:,-?[\w.]+)*)?"

_TOKEN = re.compile(
    rf"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>{NAME})|(?P<sign>[-+*()−])|(?P<other>\S))"
)
_MAX_DEPTH = 100
_HINTS = {
    "/": "multiply by the inverse: `0.5*a` for a half of a",
    "×": "write * for times",
    "·": "write * for times",
    "^": "there are no powers; multiply by a number",
    "=": "write only what stands to the right of the equals sign",
    ",": "write decimals with a point: 0.5",
    "$": "a parameter is written ${name}, and declared under `parameters:`",
}

_PLACE = re.compile(r"(?:~|\.{0,2}/|[a-z][a-z0-9+.-]*://)\S*|[A-Za-z][\w.-]*/[A-Za-z][\w.-]*(?:@\S+)?")
"""A path, an address or an id of the Hub; `a/2` is none."""


class ExpressionError(ValueError):
    """The text is no expression, or its terms do not fit together. `problem` has no place yet."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[type[ExpressionError], tuple[Problem]]:
        return type(self), (self.problem,)


@dataclass(frozen=True, slots=True)
class Number:
    factors: Factors


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Scaled:
    by: Factors
    of: Tree


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A pair of parentheses that a person wrote."""

    of: Tree


Tree: TypeAlias = "Name | Scaled | Sum | Group"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def parse(text: str) -> Tree:
    """The tree of an expression. ExpressionError names the column and shows it."""
    if _PLACE.fullmatch(text.strip()):
        place = text.strip()
        fact = f"{place} is the place of a model, not an expression."
        raise error_at(text, 0, fact, f"give it a name under `models:`, as in `base: {place}`, and use that name here")
    parser = _Parser(text)
    tree = parser.sum(0)
    if parser.next.kind != "end":
        parser.refuse(parser.next)
    if isinstance(tree, Number):
        raise error_at(text, 0, "A number alone is not a model.", "write a node's name, or NUMBER*NAME")
    return tree


def names_in(text: str) -> tuple[str, ...]:
    """The node names of an expression, each once, in the order they are written. ExpressionError as in `parse`."""
    return tuple(dict.fromkeys(_names(parse(text))))


def with_names(text: str, new_name: Callable[[str], str]) -> str:
    """The same expression with every node name mapped through `new_name`, otherwise as it was written."""
    pieces: list[str] = []
    end = 0
    for token in _tokens(text):
        if token.kind == "name":
            pieces += text[end : token.column], new_name(token.text)
            end = token.column + len(token.text)
    return "".join([*pieces, text[end:]])


def value_of(factors: Factors) -> Fraction:
    """The number itself."""
    value = Fraction(1)
    for factor in factors:
        value *= factor
    return value


def is_exact(number: Fraction) -> bool:
    """Whether some float is written as exactly this decimal."""
    try:
        return Fraction(repr(float(number))) == number
    except (OverflowError, ValueError):
        return False


def times(left: Factors, right: Factors) -> Factors:
    """The exact product, in one factor where a float can say it."""
    total = value_of(left) * value_of(right)
    if is_exact(total):
        return (total,)
    factors: list[Fraction] = []
    for factor in (*left, *right):
        if factors and is_exact(factors[-1] * factor):
            factors[-1] *= factor
        else:
            factors.append(factor)
    return tuple(factors)


def error_at(text: str, column: int, fact: str, fix: str) -> ExpressionError:
    """An error with the expression and a caret under `column` (from 0)."""
    start = max(0, column - 50)
    line = text[start : start + 100].translate(str.maketrans("\n\r\t", "   "))
    return ExpressionError(Problem(fact, why=f"{line}\n{' ' * (column - start)}^", fix=fix))


def _names(tree: Tree) -> Iterator[str]:
    match tree:
        case Name(name):
            yield name
        case Sum(terms):
            for term in terms:
                yield from _names(term)
        case Scaled(of=of) | Group(of):
            yield from _names(of)


def _tokens(text: str) -> Iterator[_Token]:
    for matched in _TOKEN.finditer(text):
        kind = str(matched.lastgroup)
        yield _Token(kind, matched[kind].replace("−", "-"), matched.start(kind))


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.next = self.advance()

    def advance(self) -> _Token:
        self.next = next(self.tokens, _Token("end", "", len(self.text.rstrip())))
        return self.next

    def takes(self, *signs: str) -> str:
        """The next sign when it is one of these, which is then passed; else ""."""
        token = self.next
        if token.kind != "sign" or token.text not in signs:
            return ""
        self.advance()
        return token.text

    def sum(self, depth: int) -> Tree | Number:
        starts = [self.next]
        terms = [self.product(depth)]
        while sign := self.takes("+", "-"):
            starts.append(self.next)
            term = self.product(depth)
            terms.append(term if sign == "+" else _scaled((Fraction(-1),), term))
        numbers = [term for term in terms if isinstance(term, Number)]
        trees = [term for term in terms if not isinstance(term, Number)]
        if not trees:
            return self.total(numbers, starts[0])
        if numbers:
            token = starts[next(index for index, term in enumerate(terms) if isinstance(term, Number))]
            raise self.error(token, "A number cannot be added to a model.", f"multiply instead: {token.text}*NAME")
        return trees[0] if len(trees) == 1 else Sum(tuple(trees))

    def total(self, numbers: list[Number], start: _Token) -> Number:
        if len(numbers) == 1:
            return numbers[0]
        total = sum((value_of(number.factors) for number in numbers), Fraction(0))
        if not is_exact(total):
            raise self.error(start, "This sum has more digits than a coefficient keeps.", "write it with 15 digits")
        return Number((total,))

    def product(self, depth: int) -> Tree | Number:
        found = self.factor(depth)
        while self.next.text == "*":
            sign = self.next
            self.advance()
            other = self.factor(depth)
            if isinstance(other, Number):
                found = _scaled(other.factors, found)
            elif isinstance(found, Number):
                found = _scaled(found.factors, other)
            else:
                raise self.error(sign, "Two models cannot be multiplied.", "one side of * must be a number")
        return found

    def factor(self, depth: int) -> Tree | Number:
        sign = Fraction(1)
        while written := self.takes("+", "-"):
            sign = -sign if written == "-" else sign
        found = self.atom(depth)
        return found if sign == 1 else _scaled((sign,), found)

    def atom(self, depth: int) -> Tree | Number:
        token = self.next
        if self.takes("("):
            if depth == _MAX_DEPTH:
                raise self.error(
                    token, f"Parentheses are nested more than {_MAX_DEPTH} deep.", "split it into several nodes"
                )
            inner = self.sum(depth + 1)
            if not self.takes(")"):
                self.refuse(self.next, f'the "(" at column {token.column + 1} is not closed')
            return inner if isinstance(inner, Number) else Group(inner)
        if token.kind not in ("number", "name"):
            self.refuse(token, "a name, a number or a parenthesis belongs here")
        self.advance()
        if self.next.kind in ("number", "name") or self.next.text == "(":
            self.refuse_beside(token)
        return Name(token.text) if token.kind == "name" else self.number(token)

    def number(self, token: _Token) -> Number:
        value = float(token.text)
        if value == float("inf") or (value == 0 and re.search("[1-9]", re.split("[eE]", token.text)[0])):
            raise self.error(token, f"{token.text} is outside the range of a number.", "write it smaller or larger")
        return Number((Fraction(repr(value)),))

    def refuse_beside(self, token: _Token) -> NoReturn:
        """What follows `token` without an operator: a factor after a number, what a function takes, or anything."""
        if token.kind == "number" and self.next.kind != "number":
            self.refuse(self.next, f"write {token.text}*{'(…)' if self.next.text == '(' else self.next.text}")
        if token.kind == "name" and self.next.text == "(" and (fix := instead_of_function(token.text)):
            raise self.error(token, f'"{token.text}" is no function: an expression has + - * alone.', fix)
        self.refuse(self.next, "an operator belongs here: + - *")

    def refuse(self, token: _Token, why: str = "") -> NoReturn:
        hint = _HINTS.get(token.text) or why or "an operator belongs here: + - *"
        if token.kind == "end":
            raise self.error(token, "The expression ends too early.", hint)
        raise self.error(token, f'"{token.text}" at column {token.column + 1} does not fit.', hint)

    def error(self, token: _Token, fact: str, fix: str) -> ExpressionError:
        return error_at(self.text, token.column, fact, fix)


def _scaled(by: Factors, tree: Tree | Number) -> Tree | Number:
    if isinstance(tree, Number):
        return Number(times(by, tree.factors))
    return Scaled(times(by, tree.by), tree.of) if isinstance(tree, Scaled) else Scaled(by, tree)
