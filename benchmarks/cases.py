"""The merges that are timed: each as a recipe, as a configuration of mergekit, and as calls of sd-mecha.

All three mean the same work on the same models; where a peer cannot be made to mean exactly this, README.md says what
it does instead ("Against other tools").
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDERS: Final = {"base": "base", "a": "tune-0", "b": "tune-1", "c": "tune-2"}
"""The folders of `make_inputs.py` by the names that recipes give them."""

Call = str | dict[str, Any]
"""A model's name, or {call, of, with} as `merge_with_sd_mecha.py` reads it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One merge. `nodes`: YAML lines that end in a node `merged`; `base` is mergekit's base_model, if any.

    `weights` and `parameters` are mergekit's, for each model and for the whole. The targets are those of speed: at
    least so many times faster than mergekit, at most so many times the I/O floor.
    """

    name: str
    title: str
    models: tuple[str, ...]
    nodes: tuple[str, ...]
    method: str
    call: Call
    base: str | None = None
    each: Mapping[str, Mapping[str, float]] | None = None
    parameters: Mapping[str, object] | None = None
    times_mergekit: float | None = None
    times_floor: float | None = None

    def folders(self, family: Path) -> list[Path]:
        return [family / FOLDERS[name] for name in self.models]

    def recipe(self, family: Path, output: Path) -> str:
        models = ", ".join(f"{name}: {json.dumps(str(family / FOLDERS[name]))}" for name in self.models)
        save = f"out: {{op: save, input: merged, path: {json.dumps(str(output))}}}"
        nodes = "\n".join(f"  {node}" for node in (*self.nodes, save))
        return f"mergegraph: 1\nname: speed\nmodels: {{{models}}}\nnodes:\n{nodes}\n"

    def mergekit(self, family: Path, dtype: str) -> dict[str, Any]:
        """The configuration: JSON, which is YAML too. `dtype` is what mergekit computes in and writes."""
        listed = self.each if self.each is not None else {name: {} for name in self.models}
        models = [
            {"model": str(family / FOLDERS[name]), **({"parameters": dict(given)} if given else {})}
            for name, given in listed.items()
        ]
        base = {"base_model": str(family / FOLDERS[self.base])} if self.base else {}
        whole = {"parameters": dict(self.parameters)} if self.parameters else {}
        return {"merge_method": self.method, "dtype": dtype, "models": models, **base, **whole}

    def sd_mecha(self, family: Path, output: Path) -> dict[str, Any]:
        models = {name: str(family / FOLDERS[name]) for name in self.models}
        return {"models": models, "call": self.call, "output": str(output / "model.safetensors")}


def _delta(model: str) -> Call:
    return {"call": "subtract", "of": [model, "base"]}


def _added(to: Call, delta: Call, alpha: float = 1.0) -> Call:
    return {"call": "add_difference", "of": [to, delta], "with": {"alpha": alpha}}


def _thinned(model: str, seed: int) -> Call:
    """`dropout` of several deltas at once would average those that keep an element."""
    return {"call": "dropout", "of": [_delta(model)], "with": {"probability": 0.5, "seed": seed}}


def _dare(name: str, title: str, rescale: str, times: float | None) -> Case:
    thin = "{op: dare, base: base, input: %s, density: 0.5, rescale: %s}"
    return Case(
        name,
        title,
        ("base", "a", "b"),
        ("x: " + thin % ("a", rescale), "y: " + thin % ("b", rescale), "merged: {op: sum, inputs: [base, x, y]}"),
        "dare_linear",
        _added(_added("base", _thinned("a", 1)), _thinned("b", 2)),
        base="base",
        each={"a": {"weight": 1.0, "density": 0.5}, "b": {"weight": 1.0, "density": 0.5}},
        times_mergekit=times,
    )


CASES: Final[Sequence[Case]] = (
    Case(
        "soup",
        "soup of 2",
        ("base", "a"),
        ("merged: {op: soup, inputs: [base, a]}",),
        "linear",
        {"call": "weighted_sum", "of": ["base", "a"], "with": {"alpha": 0.5}},
        each={"base": {"weight": 1.0}, "a": {"weight": 1.0}},
        times_mergekit=6.0,
        times_floor=1.3,
    ),
    Case(
        "deltas",
        "base + 2 deltas",
        ("base", "a", "b"),
        ("merged: base + 0.6*(a - base) + 0.7*(b - base)",),
        "task_arithmetic",
        _added(_added("base", _delta("a"), 0.6), _delta("b"), 0.7),
        base="base",
        each={"a": {"weight": 0.6}, "b": {"weight": 0.7}},
        times_mergekit=5.0,
        times_floor=1.4,
    ),
    Case(
        "slerp",
        "slerp 0.3",
        ("base", "a"),
        ("merged: {op: slerp, a: base, b: a, t: 0.3}",),
        "slerp",
        {"call": "slerp", "of": ["base", "a"], "with": {"alpha": 0.3}},
        base="base",
        parameters={"t": 0.3},
        times_mergekit=6.0,
        times_floor=2.0,
    ),
    Case(
        "ties",
        "ties 0.5, 2 deltas",
        ("base", "a", "b"),
        ("d: {op: ties, base: base, inputs: [a, b], density: 0.5}", "merged: {op: sum, inputs: [base, d]}"),
        "ties",
        _added("base", {"call": "ties_sum", "of": [_delta("a"), _delta("b")], "with": {"k": 0.5, "vote_sgn": True}}),
        base="base",
        each={"a": {"weight": 1.0, "density": 0.5}, "b": {"weight": 1.0, "density": 0.5}},
        times_mergekit=12.0,
    ),
    _dare("dare", "dare 0.5 + sum", "expected", 8.0),
    _dare("dare-l1", "dare 0.5 + sum, L1 kept", "l1", None),
)

DEFAULT: Final = ("soup", "deltas", "slerp", "ties", "dare")
"""The rows of the table. Of the peers' `dare`, mergekit's keeps the L1 norm, which `dare-l1` has too, while `dare` and
sd-mecha divide by the density."""


def chosen(names: Sequence[str]) -> list[Case]:
    """The cases of these names. ValueError for one that there is not."""
    known = {case.name: case for case in CASES}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no case {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names]
