"""Ways through an expression: what stands below, every part once, what is read. Iterative: chains may be long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Noise, Part, Product, Read, Stat


def operands(expr: Part) -> tuple[Expr, ...]:
    """The direct sub-expressions, in order: what is computed to compute this one."""
    match expr:
        case Read() | Noise() | Product():
            return ()
        case Joined(terms=terms):
            return tuple(part for _, part in terms if isinstance(part, Factor))
        case Linear(terms=terms):
            return tuple(operand for _, operand in terms)
        case Apply(operands=direct) | Stat(operands=direct):
            return direct
        case Cast(operand=operand) | Factor(operand=operand):
            return (operand,)


def parts(expr: Part) -> tuple[Part, ...]:
    """Everything that stands directly below: operands, statistics, noise, and what is read by whoever computes it."""
    if isinstance(expr, Product):
        return (expr.left, expr.right)
    if isinstance(expr, Joined):
        return tuple(part for _, part in expr.terms)
    if isinstance(expr, Apply) and (expr.stats or expr.noise is not None):
        return (*expr.operands, *expr.stats, *([expr.noise] if expr.noise is not None else ()))
    return operands(expr)


def walk_parts(*roots: Part, below: Callable[[Part], tuple[Part, ...]] = parts) -> Iterator[Part]:
    """Every distinct part once, what stands below before its users, left to right. Iterative: chains may be long."""
    seen: set[Part] = set()
    stack: list[tuple[Part, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        part, expanded = stack.pop()
        if part in seen:
            continue
        under = () if expanded else below(part)
        if under:
            stack.append((part, True))
            stack += [(each, False) for each in reversed(under)]
        else:
            seen.add(part)
            yield part


def walk(*roots: Part) -> Iterator[Expr]:
    """Every distinct sub-expression once, also those that only a statistic looks at."""
    return (part for part in walk_parts(*roots) if not isinstance(part, Stat | Noise))


def reads(*roots: Part) -> tuple[Read, ...]:
    """The distinct stored tensors that `roots` need, in the order they are first needed. Populations are apart."""
    return tuple(part for part in walk_parts(*roots) if isinstance(part, Read))


def populations(*roots: Part) -> tuple[Stat, ...]:
    """The distinct statistics of populations that `roots` need, those that others need first."""
    found: dict[Stat, None] = {}
    pending = [part for part in walk_parts(*roots) if isinstance(part, Stat) and part.population is not None]
    for each in pending:
        assert each.population is not None
        found |= dict.fromkeys(populations(*(expr for expr, _ in each.population.members)))
        found[each] = None
    return tuple(found)
