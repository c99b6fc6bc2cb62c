"""Every operation there is, found by looking: a class in a file of this package, or an entry point.

A file in `mergegraph/methods/` that defines a `Method` with an `op` is an operation; nothing is listed by hand.
Other packages add theirs through the entry-point group `mergegraph.methods` (a module or a class).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType

import mergegraph.methods
from mergegraph.methods.base import Method


@cache
def methods() -> Mapping[str, type[Method]]:
    """Op name → class, sorted by name. ValueError when two classes claim one name."""
    found: dict[str, type[Method]] = {}
    for cls in (*_own(), *_plugins()):
        name = cls.op_name()
        if found.setdefault(name, cls) is not cls:
            raise ValueError(f'two methods are called "{name}": {found[name].__module__} and {cls.__module__}')
    return MappingProxyType(dict(sorted(found.items())))


def _own() -> Iterator[type[Method]]:
    for module in pkgutil.iter_modules(mergegraph.methods.__path__):
        yield from _in_module(importlib.import_module(f"mergegraph.methods.{module.name}"))


def _plugins() -> Iterator[type[Method]]:
    for point in entry_points(group="mergegraph.methods"):
        loaded = point.load()
        yield from _in_module(loaded) if isinstance(loaded, ModuleType) else (loaded,)


def _in_module(module: ModuleType) -> Iterator[type[Method]]:
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, Method) and cls.__module__ == module.__name__ and cls.has_op():
            yield cls
