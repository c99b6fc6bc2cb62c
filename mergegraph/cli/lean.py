"""torch without what no command uses: its Python rules for tensors that have a shape and no data.

`torch._meta_registrations` serves torch.compile, export and the meta device, and takes 0.3 of the 1.1 seconds that
torch takes to import. Where methods of other packages are installed it stays: they may use anything.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from types import ModuleType

_RULES = "torch._meta_registrations"


def lighten_torch() -> None:
    """For a process that runs one command: torch, once it is imported, does not load the rules."""
    if "torch" not in sys.modules and not entry_points(group="mergegraph.methods"):
        sys.modules.setdefault(_RULES, ModuleType(_RULES))
