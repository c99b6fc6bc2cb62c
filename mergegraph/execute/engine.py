"""What computes: the engine and the torch it runs on, as a person tells them apart."""

from __future__ import annotations

import torch

from mergegraph.execute.card import engine_version


def engine_and_torch() -> str:
    """`0.1.0 with torch 2.13.0`."""
    return f"{engine_version()} with torch {torch.__version__}"
