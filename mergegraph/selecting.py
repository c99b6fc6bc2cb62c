"""Which tensors a selector means: by glob, kind, part and layers, all of which must hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache

from mergegraph.fields import Selector
from mergegraph.naming import layer_counts, role
from mergegraph.units import format_count


def parse_layers(text: str, count: int) -> range:
    """The layers that `text` ("0:16", "-4:", ":8") takes of `count`: half-open, negative from the end, as in Python.

    ValueError says what to write instead, also for "0-15" and for a lone "3". Unlike in Python, a bound beyond the
    layers and an empty run are errors too.
    """
    start, stop = _bounds(text)
    for bound in (start, stop):
        if bound is not None and not -count <= bound <= count:
            raise ValueError(f'layers "{text}" reaches to {bound}; there are {format_count(count, "layer")}')
    layers = range(*slice(start, stop).indices(count))
    if not layers:
        raise ValueError(f'layers "{text}" takes none of {format_count(count, "layer")}')
    return layers


class Selection:
    """A selector, ready to be asked about single tensors. Raises ValueError for `layers` that cannot be read.

    `names` are all the tensors of the model: they say how many layers a tower has, from which negative layers
    count. Towers differ in length, so layers beyond the end of one are left out of it. A tensor in no layer is
    never in `layers`.
    """

    __slots__ = ("_glob", "_kind", "_layers", "_part")

    def __init__(self, selector: Selector, names: Iterable[str]) -> None:
        self._glob = None if selector.match is None else glob(selector.match)
        self._kind = selector.kind
        self._part = selector.part
        self._layers: Mapping[str, range] | None = None
        if selector.layers is not None:
            run = slice(*_bounds(selector.layers))
            self._layers = {tower: range(*run.indices(count)) for tower, count in layer_counts(names).items()}

    def matches(self, name: str) -> bool:
        """Whether every condition holds for the tensor `name`."""
        if self._glob is not None and not self._glob(name):
            return False
        named = role(name)
        if (self._kind is not None and named.kind != self._kind) or (
            self._part is not None and named.part != self._part
        ):
            return False
        return self._layers is None or (named.layer is not None and named.layer in self._layers.get(named.tower, ()))


@lru_cache(maxsize=1024)
def glob(pattern: str) -> Callable[[str], object]:
    """Whether a whole name fits `pattern`, as a function of the name."""
    return re.compile(translate(pattern)).match


def is_catch_all(selector: Selector) -> bool:
    """Whether it has no condition."""
    return selector.match is None and selector.kind is None and selector.part is None and selector.layers is None


_ONE_LAYER = re.compile(r"(-?[0-9]+)")
_CLOSED_RUN = re.compile(r"([0-9]+) *(?:-|–|\.\.) *([0-9]+)")
_HALF_OPEN = re.compile(r"(-?[0-9]{1,9})? *: *(-?[0-9]{1,9})?")


def _bounds(text: str) -> tuple[int | None, int | None]:
    """The two ends of "0:16", None where one is left out; ValueError for any other form."""
    text = text.strip()
    if ends := _HALF_OPEN.fullmatch(text):
        return (int(ends[1]) if ends[1] else None), (int(ends[2]) if ends[2] else None)
    if run := _CLOSED_RUN.fullmatch(text):
        first, last = run.groups()
        meant = f'write "{first}:{last}" to leave layer {last} out, "{first}:{_after(last)}" to take it in'
    elif one := _ONE_LAYER.fullmatch(text):
        meant = f'write "{one[1]}:{_after(one[1])}" for this one layer'
    else:
        meant = 'write "0:16" for layers 0 to 15, "-4:" for the last four, ":8" for the first eight'
    raise ValueError(f'layers "{text}" is not a run of layers: {meant}')


def _after(bound: str) -> str:
    """The end of a run whose last layer is `bound`: left out after -1, the last layer of all."""
    return "" if bound == "-1" else str(int(bound[:9]) + 1)
