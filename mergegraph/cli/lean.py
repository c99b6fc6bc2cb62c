"""torch without what no command uses: its Python rules for tensors that have a shape and no data.

`torch._meta_registrations` serves torch.compile, export and the meta device, and takes 0.3 of the 1.1 seconds that
torch takes to import. Where methods of other packages are installed it stays: they may use anything. Else the first
who asks for something in it gets the module itself; fake tensors need that before they are imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

_RULES = "torch._meta_registrations"


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def lighten_torch() -> None:
    """For a process that runs one command: torch, once it is imported, does not load the rules."""
    if "torch" not in sys.modules and not entry_points(group="mergegraph.methods"):
        sys.modules.setdefault(_RULES, _Later(_RULES))
