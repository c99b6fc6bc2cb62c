"""Which layers matter: a task vector with only, and without, each kind of tensor in each quarter of the depth.

A part alone says what it brings; the whole without it says what nothing else makes up for. What lies outside the
layers (embeddings, head, last norm) is a part for each kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mergegraph.naming import layer_counts, role
from mergegraph.search.candidates import Asking, Candidate, Chosen, Spent
from mergegraph.search.scoring import Rule

QUARTERS = 4
Rules = tuple[dict[str, object], ...]


@dataclass(frozen=True)
class Part:
    """Tensors of one kind in a run of layers, or outside the layers. `selectors` are those of a schedule's rules."""

    kind: str
    tower: str
    layers: tuple[int, int] | None
    names: tuple[str, ...]
    selectors: tuple[Mapping[str, object], ...]

    @property
    def label(self) -> str:
        if self.layers is None:
            return f"{self.kind}, outside the layers"
        first, end = self.layers
        where = f"layer {first}" if end == first + 1 else f"layers {first} to {end - 1}"
        return f"{self.kind}, {where}" + (f" of {self.tower}" if self.tower else "")

    def rules(self, *, inside: float, outside: float) -> Rules:
        """A schedule that gives these tensors one number and all others another."""
        own: list[dict[str, object]] = [{**selector, "value": inside} for selector in self.selectors]
        return (*own, {"value": outside})


def parts(names: Iterable[str]) -> list[Part]:
    """The parts that have tensors, tower by tower from the first quarter to the last, then those outside."""
    names = list(names)
    counts = layer_counts(names)
    several = len(counts) > 1
    groups: dict[tuple[str, int, str], list[str]] = {}
    for name in names:
        place = role(name)
        quarter = QUARTERS if place.layer is None else place.layer * QUARTERS // counts[place.tower]
        groups.setdefault(("" if place.layer is None else place.tower, quarter, place.kind), []).append(name)
    found = [
        _part(tower, quarter, kind, members, counts, several) for (tower, quarter, kind), members in groups.items()
    ]
    return sorted(found, key=lambda part: (part.layers is None, part.tower, part.layers or (0, 0), part.kind))


def _part(tower: str, quarter: int, kind: str, names: list[str], counts: Mapping[str, int], several: bool) -> Part:
    if quarter == QUARTERS:
        return Part(kind, "", None, tuple(names), tuple({"match": _literally(name)} for name in names))
    count = counts[tower]
    first, end = -(-quarter * count // QUARTERS), -(-(quarter + 1) * count // QUARTERS)
    selector: dict[str, object] = {"kind": kind, "layers": f"{first}:{end}"}
    if several:
        selector["match"] = f"{_literally(tower)}.*"
    return Part(kind, tower if several else "", (first, end), tuple(names), (selector,))


def _literally(name: str) -> str:
    """`name` as a glob that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@dataclass(frozen=True)
class Pair:
    """A part, and the two candidates that say what it is worth."""

    part: Part
    only: Candidate
    without: Candidate


def ablate(full: Candidate, none: Candidate, pairs: Sequence[Pair], asking: Asking, rule: Rule) -> Chosen:
    """The whole delta, none of it, and every part with only and without it."""
    rows: list[dict[str, object]] = []
    ends: dict[str, Mapping[str, float]] = {}
    ended = ""
    try:
        for name, candidate in (("full", full), ("none", none)):
            ends[name] = dict(asking.outcome(candidate).metrics)
        for pair in pairs:
            only, without = asking.outcome(pair.only), asking.outcome(pair.without)
            row: dict[str, object] = {
                "part": pair.part.label, "kind": pair.part.kind, "layers": pair.part.layers, "tower": pair.part.tower,
                "tensors": len(pair.part.names), "only": dict(only.metrics), "without": dict(without.metrics),
            }  # fmt: skip
            if not only.rejected and not without.rejected and all(ends.values()):
                row["gain_of_only"] = _gain(rule, only.metrics, ends["none"])
                row["loss_without"] = _gain(rule, ends["full"], without.metrics)
            rows.append(row)
    except Spent as spent:
        ended = str(spent)
    return Chosen(None, None, ended, findings={"ablation": {**ends, "parts": rows}})


def _gain(rule: Rule, new: Mapping[str, float], old: Mapping[str, float]) -> float:
    return rule.score_of(new) - rule.score_of(old)
