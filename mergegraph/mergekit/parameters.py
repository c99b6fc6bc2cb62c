"""The levels of a configuration joined as mergekit joins them: a parameter's number for every tensor, as a schedule.

    a source's own `parameters`, then its slice's, then those of the whole merge: the first condition that fits counts

mergekit runs a gradient over the layers of its slice and gives whatever is outside the layers its first value; a
recipe gives the final norm and the head the last. Where the two differ the recipe says so, unless faults are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.mergekit.levels import Conditional, Level, Setting
from mergegraph.mergekit.signatures import Default
from mergegraph.mergekit.writing import Noted, Tree, number_text

_IN_LAYERS = (
    "model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight",
    "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.bias",
    "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
    "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight",
    "transformer.h.0.ln_1.weight", "transformer.h.0.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.weight",
    "gpt_neox.layers.0.attention.query_key_value.weight", "gpt_neox.layers.0.mlp.dense_h_to_4h.weight",
)  # fmt: skip
_OUTSIDE = (
    "model.norm.weight", "model.norm.bias", "model.final_layernorm.weight", "lm_head.weight", "lm_head.bias",
    "transformer.ln_f.weight", "gpt_neox.final_layer_norm.weight", "embed_out.weight", "score.weight",
)  # fmt: skip
_HEAD = "lm_head.weight"
_LAYER_NUMBER = re.compile(r"(?:^|\.)\d+(?:\.|$)")


@dataclass
class Findings:
    """What importing finds, in the order it is found, each thing once. Errors and warnings alike.

    `unfit`: filters and their parameters that have fitted nothing so far, with the names they were held against.
    """

    problems: dict[Problem, None] = field(default_factory=dict[Problem, None])
    unfit: dict[tuple[str, Conditional], tuple[str, ...]] = field(
        default_factory=dict["tuple[str, Conditional]", "tuple[str, ...]"]
    )
    fit: set[tuple[str, Conditional]] = field(default_factory=set["tuple[str, Conditional]"])

    def error(self, fact: str, at: Location, fix: str, why: str = "") -> None:
        self.problems[Problem(fact, at, why=why, fix=fix)] = None

    def warning(self, fact: str, at: Location, fix: str = "", why: str = "") -> None:
        self.problems[Problem(fact, at, why=why, fix=fix, severity="warning")] = None

    def fits(self, name: str, each: Conditional, tensors: tuple[str, ...]) -> bool:
        """Whether a condition of parameter `name` fits any of `tensors`; of those that are not known it may."""
        if not each.filter:
            return True
        fits = not tensors or any(each.filter in tensor for tensor in tensors)
        if fits:
            self.fit.add((name, each))
        else:
            self.unfit[name, each] = tensors
        return fits

    def say_what_fits_nothing(self) -> None:
        """An error for every filter that fits no tensor in any slice; a warning where the head may just be tied."""
        for (name, each), tensors in self.unfit.items():
            if (name, each) in self.fit:
                continue
            fact = f'The filter "{each.filter}" of "{name}" fits no tensor.'
            if each.filter in _HEAD and not any(_HEAD in tensor for tensor in tensors):
                why = "the head is tied to the embedding, whose number it has"
                self.warning(fact, each.at, "delete it", why)
                continue
            parts = {part for tensor in tensors for part in tensor.split(".") if not part.isdigit()}
            self.error(fact, each.at, did_you_mean(each.filter, parts, "parts of names"), "mergekit would ignore it")

    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]


@dataclass(frozen=True)
class Scope:
    """One slice: the levels that all its inputs share, and its layers. `fix`: are known faults changed.

    `first_layer` is where the slice begins in the result, `tensors` the names of its tensors there, none where they
    are not known.
    """

    levels: tuple[Level, ...]
    layer_count: int | None
    first_layer: int
    tensors: tuple[str, ...]
    fix: bool
    findings: Findings
    at: Location

    def own(
        self, name: str, level: Level, place: tuple[int, tuple[str, ...]], default: Default, model: str, at: Location
    ) -> Tree:
        """The schedule of a parameter of one input. `place`: where its layers begin in its own model, and the names
        of its tensors, counted from 0.
        """
        found = _joined(name, (level, *self.levels), default, at)
        if not found:
            fix = f"write it under the model, or for all: parameters: {{{name}: 1.0}}"
            self.findings.error(f'The model {model} is given no "{name}".', at, fix)
        return self._schedule(name, found, *place)

    def shared(self, name: str, default: Default) -> Tree:
        """The schedule of a parameter of the merge."""
        found = _joined(name, self.levels, default, self.at)
        if not found:
            self.findings.error(f'The merge is given no "{name}".', self.at, f"add parameters: {{{name}: 0.5}}")
        return self._schedule(name, found, self.first_layer, self.tensors)

    def flag(self, name: str, default: bool) -> bool:
        """A parameter that is true or false for the whole slice."""
        return bool(self._one(name, default))

    def number(self, name: str, default: float) -> float:
        """A parameter that is one number for the whole slice."""
        return float(self._one(name, default))

    def at_of(self, name: str) -> Location:
        """Where the parameter of the merge is given; the merge where it is not."""
        return next((level[name].at for level in self.levels if name in level), self.at)

    def _one(self, name: str, default: float | bool) -> float | bool:
        found = _joined(name, self.levels, default, self.at)
        values = {value for each in found for value in each.values}
        if len(values) == 1:
            return values.pop()
        fact = f'"{name}" differs from tensor to tensor, and a recipe has one for the whole node.'
        self.findings.error(fact, self.at_of(name), "give it one value, without filters")
        return default

    def _schedule(self, name: str, found: Iterable[Conditional], first_layer: int, tensors: tuple[str, ...]) -> Tree:
        rules: list[Tree] = []
        for each in found:
            if first_layer and _LAYER_NUMBER.search(each.filter):
                fact = f'The filter "{each.filter}" of "{name}" names a layer of a slice that does not begin at 0.'
                self.findings.error(fact, each.at, "take the number out of the filter: slice the layers instead")
            elif self.findings.fits(name, each, tensors):
                rules += self._rules(name, each)
        match rules:
            case [Noted({"value": value, **others}, note, at)] if not others:
                return Noted(value, note, at)
            case _:
                return rules

    def _rules(self, name: str, each: Conditional) -> list[Noted]:
        selector: dict[str, Tree] = {"match": f"*{_escaped(each.filter)}*"} if each.filter else {}
        values = [float(value) for value in each.values]
        first, last = values[0], values[-1]
        layers: Tree = first if len(set(values)) == 1 else values
        alone = ""
        if self.layer_count == 1 and isinstance(layers, list) and not self.fix:
            layers, alone = last, "mergekit gives a slice of one layer the gradient's last value"
        inside, outside = _reach(each.filter)
        if self.fix or not outside or layers == first or (isinstance(layers, list) and first == last):
            return [Noted({**selector, "value": layers}, alone, each.at)]
        self._warn_of_gradient(name, first, each.at)
        whom = "these" if each.filter else "the final norm and the head"
        rest = Noted({**selector, "value": first}, f"mergekit gives {whom} the gradient's first value", each.at)
        return [Noted({**selector, "layers": "0:", "value": layers}, alone, each.at), rest] if inside else [rest]

    def _warn_of_gradient(self, name: str, first: float, at: Location) -> None:
        shown = number_text(first)
        self.findings.warning(
            f'The gradient of "{name}" never reaches what comes after the layers: norm and head get {shown}.',
            at,
            "--fix-known-faults gives them the last value",
            "mergekit 0.1.5 gives them the first value, and the recipe says it in a rule of its own",
        )


def _joined(name: str, levels: Iterable[Level], default: Default, at: Location) -> list[Conditional]:
    """The conditions of every level in turn, up to the first that fits all tensors."""
    found: list[Conditional] = []
    given: Iterable[Setting] = (level[name] for level in levels if name in level)
    for each in (each for setting in given for each in setting.conditionals):
        found.append(each)
        if not each.filter:
            return found
    return found if default is None else [*found, Conditional("", (default,), at)]


def _reach(word: str) -> tuple[bool, bool]:
    """Whether a filter can fit tensors in the layers, and tensors after them. An unknown word is one in the layers."""
    outside = any(word in name for name in _OUTSIDE)
    return not outside or any(word in name for name in _IN_LAYERS), outside


def _escaped(word: str) -> str:
    """`word` as a glob that stands for itself."""
    return re.sub(r"([*?\[])", r"[\1]", word)


def is_one(tree: Tree, number: float) -> bool:
    """Whether a schedule is `number` for every tensor."""
    value = tree.value if isinstance(tree, Noted) else tree
    return isinstance(value, float) and value == number


def constant(tree: Tree) -> float | None:
    """The one number of a schedule; None where it differs from tensor to tensor."""
    value = tree.value if isinstance(tree, Noted) else tree
    return float(value) if isinstance(value, int | float) else None
