"""Trim, elect, merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from mergegraph.errors import Problem, Unfit
from mergegraph.expr import Expr, Space
from mergegraph.fields import Coefficient, WeightedInput
from mergegraph.methods.base import Parameters
from mergegraph.methods.electing import Electing
from mergegraph.methods.largest import trimmed
from mergegraph.methods.thinning import Rescale, density_problem

_PRESETS: dict[str, dict[str, str]] = {"paper": {"scope": "model", "vote": "unweighted", "combine": "mean"}}


class TrimmedInput(WeightedInput):
    """One of several deltas, with its weight and the share of it that is kept."""

    density: Coefficient | None = None


class Ties(Electing):
    """TIES: of each delta only the largest elements, of these only those whose sign wins, and their mean.

    y = elect(trim(d_1, density_1), trim(d_2, density_2), …)   with the options of those two operations

    The defaults rank within a tensor and let weights vote; `preset: paper` ranks over the whole model and lets every
    delta have one vote, as published.

    Yadav et al., "TIES-merging: resolving interference when merging models", NeurIPS 2023, arXiv 2306.01708.
    """

    random = True
    example = "m: {op: ties, inputs: [{from: d_code, weight: 1.0}, d_chat], density: 0.5}"
    wiring_fields = Electing.wiring_fields | {"seed", "preset"}

    op: Literal["ties"] = "ties"
    inputs: Annotated[tuple[TrimmedInput, ...], Field(min_length=1, description="deltas, or models with `base`")]
    density: Coefficient = Field(default=1.0, description="the share that is kept of every delta without its own")
    scope: Literal["tensor", "model"] = Field(default="tensor", description="what the largest are found among")
    rescale: Rescale = Field(default="none", description="of the trimmed deltas: none, l1, expected")
    preset: Literal["paper"] | None = Field(default=None, description="paper: scope, vote and combine as published")
    seed: int | None = Field(default=None, description="for equals at a threshold; default: the node's name")

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        fields = cast("dict[str, Any]", value)
        return _PRESETS.get(str(fields.get("preset")), {}) | fields

    @model_validator(mode="after")
    def _preset_holds(self) -> Self:
        for name, wanted in _PRESETS.get(self.preset or "", {}).items():
            if getattr(self, name) != wanted:
                means = (
                    f"`preset: {self.preset}` means `{name}: {wanted}`, and `{name}: {getattr(self, name)}` is written"
                )
                raise Unfit(means, f"leave out `preset:` or `{name}:`")
        return self

    def densities(self, p: Parameters) -> list[float]:
        """The density of each input for one tensor."""
        own = [p.get(("inputs", index, "density")) for index in range(len(self.inputs))]
        return [float(p.density if density is None else density) for density in own]

    def objection(self, p: Parameters) -> Problem | None:
        return next(filter(None, map(density_problem, self.densities(p))), None) or super().objection(p)

    def gathered(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Sequence[Expr]:
        return self.deltas(inputs) if self.scope == "model" else ()

    def expand(self, inputs: Sequence[Expr | None], p: Parameters, space: Space) -> Expr:
        deltas = self.deltas(inputs)
        noises = p.noises[-len(deltas) :]
        over = p.populations or [None] * len(deltas)
        kept = [
            trimmed(delta, density, self.rescale, noise, population)
            for delta, density, noise, population in zip(deltas, self.densities(p), noises, over, strict=True)
        ]
        return self.elected(kept, p)
