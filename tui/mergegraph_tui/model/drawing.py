"""Where everything of a drawn graph is, in whole terminal cells. Made by `layered.layout`, painted by `cells.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["down", "right"]
Size: TypeAlias = Literal["pill", "box", "card"]

DIRECTIONS: tuple[Direction, ...] = ("down", "right")
SIZES: tuple[Size, ...] = ("pill", "box", "card")

NORTH, EAST, SOUTH, WEST = 1, 2, 4, 8
"""The sides of a cell that a wire leaves it by; a wire's cell is a sum of these."""


@dataclass(frozen=True, slots=True)
class Box:
    """The rectangle of one node."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pin:
    """Where a wire enters a node: a cell of its border. `position`: which of the node's inputs it is."""

    position: int
    x: int
    y: int


@dataclass(frozen=True)
class Drawing:
    """Boxes, pins and wires. `wires`: for each cell, the sides by which the net of each source leaves it.

    A net is all the wires that leave one node. Where two nets share a cell, they cross.
    """

    width: int
    height: int
    direction: Direction
    boxes: Mapping[str, Box]
    pins: Mapping[str, tuple[Pin, ...]]
    outlets: Mapping[str, tuple[int, int]]
    wires: Mapping[tuple[int, int], Mapping[str, int]]
    layers: tuple[tuple[str, ...], ...]
    crossings: int
