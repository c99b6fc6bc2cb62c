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
from mergegraph.methods.kernel import Piece


@cache
def methods() -> Mapping[str, type[Method]]:
    """Op name → class, sorted by name. ValueError when two classes claim one name."""
    found: dict[str, type[Method]] = {}
    for cls in (*_own(), *_plugins()):
        name = cls.op_name()
        if found.setdefault(name, cls) is not cls:
            raise ValueError(f'two methods are called "{name}": {found[name].__module__} and {cls.__module__}')
    return MappingProxyType(dict(sorted(found.items())))


@cache
def kernels() -> Mapping[str, type[Method] | type[Piece]]:
    """Kernel name in plans → the class that computes it: every method by its op, and the pieces they build on."""
    found: dict[str, type[Method] | type[Piece]] = dict(methods())
    for module in _modules():
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Piece) and cls.__module__ == module.__name__ and hasattr(cls, "name"):
                if cls.name in found:
                    raise ValueError(f'two kernels are called "{cls.name}": one is in {cls.__module__}')
                found[cls.name] = cls
    return MappingProxyType(found)


def _modules() -> Iterator[ModuleType]:
    """The modules of this package, and those that the methods of other packages are in."""
    for module in pkgutil.iter_modules(mergegraph.methods.__path__):
        yield importlib.import_module(f"mergegraph.methods.{module.name}")
    for cls in _plugins():
        yield importlib.import_module(cls.__module__)


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
