"""The nodes of the recipe that is being written: each made once, under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mergegraph.errors import Location
from mergegraph.mergekit.places import Names, Places, name_of
from mergegraph.mergekit.writing import NodeText, Noted, Tree


@dataclass
class Nodes:
    """Nodes in the order they are needed. What is asked for twice (a model, a delta, a cut) is one node."""

    places: Places
    names: Names = field(default_factory=Names)
    texts: list[NodeText] = field(default_factory=list[NodeText])
    made: dict[tuple[object, ...], str] = field(default_factory=dict[tuple[object, ...], str])

    def written(self) -> list[NodeText]:
        """All nodes, the models first."""
        return sorted(self.texts, key=lambda node: node.fields["op"] != "load")

    def add(self, wanted: str, fields: Mapping[str, Tree], at: Location) -> str:
        """A new node, called `wanted` or nearly so."""
        name = self.names.new(wanted)
        self.texts.append(NodeText(name, fields, at))
        return name

    def once(self, key: tuple[object, ...], wanted: str, fields: Mapping[str, Tree], at: Location) -> str:
        """The node for `key`, made where there is none yet."""
        if key not in self.made:
            self.made[key] = self.add(wanted, fields, at)
        return self.made[key]

    def load(self, model: str, vocab: Mapping[str, Tree] | None, at: Location) -> str:
        """The load node of a model as it is written in the configuration."""
        fields: dict[str, Tree] = {"op": "load", "model": Noted(self.places.reference(model), "", at)}
        if vocab is not None:
            fields["vocab"] = vocab
        return self.once(("load", model, repr(vocab)), name_of(model), fields, at)

    def loaded(self, model: str) -> str | None:
        """A load node of `model`, where there is one."""
        return next((node for key, node in self.made.items() if key[:2] == ("load", model)), None)

    def delta(self, model: str, base: str, at: Location) -> str:
        """What `model` has beyond `base`; both are nodes."""
        return self.once(("delta", model, base), f"d_{model}", {"op": "delta", "model": model, "base": base}, at)

    def cut(self, model: str, layers: tuple[int, int], at: Location) -> str:
        """A model of some layers of `model`, which is a node."""
        first, end = layers
        piece = {"from": model, "layers": f"{first}:{end}"}
        return self.once(("cut", model, layers), f"{model}_{first}_{end}", {"op": "stack", "slices": [piece]}, at)
