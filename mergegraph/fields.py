"""What the fields of a method may hold: edges to other nodes, coefficients, selections of tensors.

A field annotated `Weights`, `Delta` or `Either` (alone or inside `Input`, `Case`, `Slice`) is an edge of the
graph; a `Coefficient` is a number that may differ from tensor to tensor; everything else is a plain parameter.
Says what may be written, not what it means for a tensor: that is `mergegraph.schedule`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag, model_validator

from mergegraph.expr import Space as Space

Accepts = Literal["weights", "delta", "any"]

Kind = Literal["embedding", "attention", "mlp", "norm", "head", "expert", "other"]
Part = Literal["q", "k", "v", "o", "gate", "up", "down"]


@dataclass(frozen=True, slots=True)
class EdgeTo:
    """Marks a field that names another node, and says which space that node must have."""

    accepts: Accepts


class CoefficientField:
    """Marks a field whose value is resolved to one number for each tensor."""


Weights = Annotated[str, EdgeTo("weights")]
Delta = Annotated[str, EdgeTo("delta")]
Either = Annotated[str, EdgeTo("any")]

Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Gradient = Annotated[tuple[Number, ...], Field(min_length=1)]


class FieldModel(BaseModel):
    """A strict, frozen piece of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Described(FieldModel):
    """What a person fills in field by field: an operation, or a search. It has a name, and an example of how to."""

    example: ClassVar[str] = ""
    """A runnable fragment, shown where the fields are wrong and in the documentation."""

    @classmethod
    def op_name(cls) -> str:
        """The name that a document gives it."""
        raise NotImplementedError


class Selector(FieldModel):
    """Which tensors: every condition given must hold; none given selects all.

    `match` is a glob over the whole tensor name; `layers` is half-open, as in Python (`"0:16"`, `"-4:"`).
    """

    match: str | None = Field(default=None, description='a glob over the whole name of a tensor: "*.q_proj.weight"')
    kind: Kind | None = Field(default=None, description="what the tensor is for, by its name")
    part: Part | None = Field(default=None, description="which matrix of attention (q k v o), of an MLP or an expert")
    layers: str | None = Field(default=None, description='a run of layers, as in Python: "0:16", ":8", "-4:"')


class Rule(Selector):
    """One line of a schedule: the tensors it is for, and their number or gradient."""

    value: Number | Gradient = Field(description="the number of these tensors, or a list: a gradient over the layers")


def _schedule_form(value: object) -> str:
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return "rules" if any(isinstance(item, dict | Rule) for item in items) else "gradient"
    return "number"


Schedule = Annotated[
    Annotated[Number, Tag("number")] | Annotated[Gradient, Tag("gradient")] | Annotated[tuple[Rule, ...], Tag("rules")],
    Discriminator(_schedule_form),
]
Coefficient = Annotated[Schedule, CoefficientField()]


class Input(FieldModel):
    """One of several inputs. A bare node name is `{from: NAME}`."""

    from_: Either = Field(alias="from", description="the node")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value


class WeightedInput(Input):
    """One of several inputs, with its weight."""

    weight: Coefficient = Field(default=1.0, description="how much it counts, beside the others")


class Case(Selector):
    """The tensors that come from `from`."""

    from_: Either = Field(alias="from", description="the node that these tensors come from")


class Slice(FieldModel):
    """A run of layers of one model; `layers` is half-open (`"0:24"`, `"-4:"`)."""

    from_: Weights = Field(alias="from", description="the model")
    layers: str = Field(description='its layers, as in Python: "0:24", "-4:"')


Inputs = Annotated[tuple[Input, ...], Field(min_length=1)]
