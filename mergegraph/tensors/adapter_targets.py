"""Which tensors of a base an adapter changes, and where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mergegraph.errors import Problem
from mergegraph.tensors.adapter import CONFIG, Adapter, Factors, Shape, listed
from mergegraph.tensors.adapter_config import AdapterConfig
from mergegraph.units import format_count


@dataclass(frozen=True, slots=True)
class Target:
    """What is added to one tensor of the base; `is_transposed`: the transpose of the product."""

    factors: Factors
    is_transposed: bool


def targets(adapter: Adapter, shapes: Mapping[str, Shape], base: str) -> tuple[dict[str, Target], list[Problem]]:
    """Which tensor of the base each pair changes, in the base's order. `shapes` are the base's, `base` its node."""
    renamed = _renaming([factors.module for factors in adapter.factors], shapes)
    found: dict[str, Target] = {}
    problems: list[Problem] = []
    missing: list[Factors] = []
    for factors in adapter.factors:
        name = renamed(factors.module)
        if name not in shapes:
            missing.append(factors)
            continue
        turned = _orientation(factors, shapes[name], stated=adapter.config.is_transposed)
        if turned is None or name in found:
            problems.append(_misfit(factors, name, shapes[name], base, is_twice=name in found))
        else:
            found[name] = Target(factors, turned)
    problems += _missing(missing, shapes, base)
    problems += _turned(found, adapter.config)
    problems += _resized(adapter, renamed, shapes, base)
    return {name: found[name] for name in shapes if name in found}, problems


def _renaming(modules: Sequence[str], names: Mapping[str, Shape]) -> Callable[[str], str]:
    """From a module to the base's tensor. A base saved without its head, or with one more level, has every module
    under another prefix: `transformer.h.0` or `h.0`. The first of these readings that finds all is taken."""

    def known(module: str, rename: Callable[[str], str]) -> str:
        own = f"{module}.weight"
        return own if own in names else f"{rename(module)}.weight"

    firsts = dict.fromkeys(name.partition(".")[0] for name in names)
    readings: list[Callable[[str], str]] = [lambda module: module, lambda module: module.partition(".")[2]]
    readings += [partial("{}.{}".format, first) for first in firsts]
    taken = next((rename for rename in readings if all(known(m, rename) in names for m in modules)), readings[0])
    return lambda module: known(module, taken)


def _orientation(factors: Factors, shape: Shape, *, stated: bool) -> bool | None:
    """Whether the product must be transposed to fit; None where it fits neither way."""
    turned = factors.shape[::-1] if len(factors.shape) == 2 else None
    if factors.is_embedding:
        return True if turned == shape else None
    first, second = (turned, factors.shape) if stated else (factors.shape, turned)
    return stated if first == shape else not stated if second == shape else None


def _turned(found: Mapping[str, Target], config: AdapterConfig) -> Iterator[Problem]:
    """`fan_in_fan_out` is of the whole adapter, layers are one or the other: where shapes say otherwise they are
    right, and of square matrices nobody can tell."""
    plain = {name: target for name, target in found.items() if not target.factors.is_embedding}
    against = [n for n, target in plain.items() if target.is_transposed != config.is_transposed]
    square = [n for n, target in plain.items() if len(set(target.factors.shape)) == 1]
    if not against:
        return
    stated, other = ("true", "false") if config.is_transposed else ("false", "true")
    yield Problem(
        f"`fan_in_fan_out: {stated}` does not fit {listed(against)}.",
        tensor=against[0],
        why=f"the shapes fit only the other way; of {listed(square)}, which is square, they do not say"
        if square
        else "the shapes fit only the other way, and are taken so",
        fix=f"write `fan_in_fan_out: {other}` in {CONFIG}, if that is what the layers of the base are",
        severity="error" if square else "warning",
    )


def _misfit(factors: Factors, name: str, shape: Shape, base: str, *, is_twice: bool) -> Problem:
    if is_twice:
        return Problem(f"Two pairs of matrices change {name}.", tensor=factors.left.name, fix="take another adapter")
    made = list(factors.shape[::-1] if factors.is_embedding else factors.shape)
    return Problem(
        f"The adapter does not fit {name}.",
        tensor=factors.left.name,
        why=f'its matrices make {made}, "{base}" has {list(shape)}',
        fix="give the base that the adapter was trained on",
    )


def _missing(missing: Sequence[Factors], names: Iterable[str], base: str) -> Iterator[Problem]:
    if missing:
        first = missing[0]
        modules = listed([factors.module for factors in missing])
        yield Problem(
            f'The adapter changes {format_count(len(missing), "module")} that "{base}" does not have: {modules}.',
            tensor=first.right.name,
            why=f"the tensors of the base begin with {listed(list(names))}",
            fix="give the base that the adapter was trained on; where only a prefix differs, add "
            "`rename: {OLDPREFIX: NEWPREFIX}` to its load node",
        )


def _resized(
    adapter: Adapter, renamed: Callable[[str], str], shapes: Mapping[str, Shape], base: str
) -> Iterator[Problem]:
    """A stored copy of another shape than the base's tensor is no copy."""
    for module, tensor in adapter.copies.items():
        shape = shapes.get(renamed(module))
        if shape is not None and shape != tensor.shape:
            yield Problem(
                f"The adapter was trained on a base of another vocabulary: {renamed(module)}.",
                tensor=tensor.name,
                why=f'it holds that tensor as {list(tensor.shape)}, "{base}" has {list(shape)}',
                fix="merge the adapter into its base with peft (merge_and_unload), and load the result",
            )
