"""What the statistics of an output look at: for each tensor its base, the change of every source, and the result.

All are expressions, fed in the pass that stores the tensor, so that what is measured is what is written. Sources are
the models and adapters that a save is made from, tensor by tensor of the same name. Computes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

from mergegraph.dtypes import DType
from mergegraph.errors import Problem, RecipeError, did_you_mean
from mergegraph.expr import Cast, Expr, Joined, Read, linear, read
from mergegraph.plan.losses import NO_LOSSES, Losses, losses
from mergegraph.plan.program import Feed, computes_in_double, granularity_of
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.header import StoredTensor
from mergegraph.walking import reads, walk_parts

_SHOWN = 100
"""Sentences about tensors that only some models have; the rest is counted."""
_ONE = Fraction(1)
_ONLY_SOURCES = "The output is a delta, so only its sources are measured."
_WRITTEN_AS_FACTORS = "The output is an adapter: its factors are not measured. A save of its sum with the base is."


@dataclass(frozen=True, slots=True)
class Looked:
    """One tensor. `result` is the unrounded W*, None where nothing is made; `skipped` says why none is looked at;
    `stored`: see `mergegraph.stats.record.TensorRecord`."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    base: Expr | None = None
    changes: tuple[Expr, ...] = ()
    result: Expr | None = None
    skipped: str = ""
    losses: Losses = NO_LOSSES
    stored: tuple[str, ...] = ()

    @property
    def feed(self) -> Feed:
        """What its accumulator is fed with, in this order."""
        return tuple([x for x in (self.base, *self.changes, self.result) if x is not None])

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What all its accumulators are fed with: that one, then one for each sum of its losses."""
        return (self.feed, *[fed for _, fed in self.losses.sums])


@dataclass(frozen=True, slots=True)
class Survey:
    """One record to be: names as in `mergegraph.stats.record.Record`, and the tensors of an output in its order."""

    base: str
    sources: tuple[str, ...]
    result: str
    tensors: tuple[Looked, ...]
    problems: tuple[str, ...] = ()
    recipe: str = ""


class Made(Protocol):
    """A tensor of an output (`mergegraph.plan.groups.OutputTensor`)."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def root(self) -> Expr: ...
    @property
    def reads(self) -> tuple[Read, ...]: ...


@dataclass(frozen=True)
class Source:
    """A model, by the name that its node or the command line has; or an adapter, which has no more than it changes."""

    name: str
    tensors: Mapping[str, tuple[DType, tuple[int, ...]]]
    exprs: Mapping[str, Expr]
    is_delta: bool = False
    reference: str = ""

    def named(self, name: str) -> tuple[Expr, ...]:
        """Its tensor of that name, where it has one."""
        return (self.exprs[name],) if name in self.exprs else ()

    def stored(self, name: str) -> str:
        """Torch's name of the dtype that a weight lies on disk in; empty where it has none, or is a change."""
        if self.is_delta or name not in self.tensors:
            return ""
        dtype = self.tensors[name][0]
        return dtype.torch_name or dtype.code

    def lacks(self, name: str, shape: tuple[int, ...]) -> str:
        """Why a tensor cannot be compared with the source's; empty where it can."""
        if name not in self.tensors:
            return "" if self.is_delta else f"{self.name} has no such tensor"
        dtype, own = self.tensors[name]
        if own != shape:
            return f"{self.name} has it as {list(own)}"
        return "" if dtype.is_float else f"{self.name} has it as {dtype.torch_name or dtype.code}"


@dataclass(frozen=True)
class Comparable:
    """What a save is made from: the base, the rest, and what to say of how they were chosen."""

    base: Source | None
    sources: tuple[Source, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def every(self) -> tuple[Source, ...]:
        return self.sources if self.base is None else (self.base, *self.sources)


def survey(
    resolved: Resolved,
    save: str,
    made: Sequence[Made],
    leaves: Mapping[str, Mapping[str, Expr]],
    wanted_base: str | Source | None,
    recipe: str,
) -> Survey:
    """The survey of one save. `leaves`: the tensors of every load and lora node. `wanted_base`: a load node, or a
    model that is none, in place of the base that the recipe has. RecipeError for a node that is no model.
    """
    found = _comparable(resolved, save, leaves, wanted_base)
    is_delta = resolved.nodes[save].node.space == "delta"
    looked = [_looked(found, tensor, is_delta=is_delta) for tensor in made]
    names = tuple([source.name for source in found.sources])
    models = [source for source in found.every if not source.is_delta]
    problems = [*found.problems, *differences(models)]
    if is_delta:
        problems.append(_WRITTEN_AS_FACTORS if _is_adapter(made) else _ONLY_SOURCES)
    base = found.base.name if found.base else ""
    return Survey(base, names, "" if is_delta else save, tuple(looked), tuple(problems), recipe)


def survey_of_models(base: Source | None, models: Sequence[Source]) -> Survey:
    """Models against a base, or as they are; nothing is made of them. The tensors are the first model's."""
    found, first = Comparable(base, tuple(models)), models[0]
    looked = [
        _measurable(found, Looked(name, dtype, shape)) if dtype.is_float else _not_floating(Looked(name, dtype, shape))
        for name, (dtype, shape) in first.tensors.items()
    ]
    every = [*([base] if base else []), *models]
    names = tuple([model.name for model in models])
    return Survey(base.name if base else "", names, "", tuple(looked), tuple(differences(every)))


def model_source(name: str, checkpoint: Checkpoint) -> Source:
    """A stored model that no recipe speaks of."""
    exprs: dict[str, Expr] = {each: _read(tensor, checkpoint) for each, tensor in checkpoint.tensors.items()}
    kinds = {each: (tensor.dtype, tensor.shape) for each, tensor in checkpoint.tensors.items()}
    return Source(name, kinds, exprs, checkpoint.space == "delta", checkpoint.reference)


def differences(models: Sequence[Source]) -> Iterator[str]:
    """A sentence for each tensor that only some models have, or with other shapes or dtypes."""
    said = list(_differences(models))
    yield from said[:_SHOWN]
    if len(said) > _SHOWN:
        yield f"{len(said) - _SHOWN:,} more tensors differ."


def _differences(models: Sequence[Source]) -> Iterator[str]:
    for name in dict.fromkeys(name for model in models for name in model.tensors):
        having = [model for model in models if name in model.tensors]
        if len(having) < len(models):
            lacking = ", ".join(model.name for model in models if name not in model.tensors)
            yield f"{name} is in {', '.join(model.name for model in having)} and not in {lacking}."
        kinds = {model.name: model.tensors[name] for model in having}
        if len(set(kinds.values())) > 1:
            shown = [
                f"{list(shape)} {dtype.torch_name or dtype.code} in {each}" for each, (dtype, shape) in kinds.items()
            ]
            yield f"{name} is {', '.join(shown)}."


def _comparable(
    resolved: Resolved, save: str, leaves: Mapping[str, Mapping[str, Expr]], wanted: str | Source | None
) -> Comparable:
    above = _above(resolved, save)
    sources = {name: _source(resolved.nodes[name], leaves[name]) for name in above if name in leaves}
    problems: list[str] = []
    if isinstance(wanted, Source):
        same = [name for name, source in sources.items() if source.reference == wanted.reference]
        base: Source | None = sources.pop(same[0]) if same else wanted
    elif wanted is not None:
        if wanted not in sources or sources[wanted].is_delta:
            models = [name for name, source in sources.items() if not source.is_delta]
            raise RecipeError(Problem(f'The save "{save}" reads no model "{wanted}".', node=save,
                                      fix=f"--base {did_you_mean(wanted, models, 'models')}"))  # fmt: skip
        base = sources.pop(wanted)
    else:
        bases = _bases(resolved, above)
        base = sources.pop(bases[0]) if bases and bases[0] in sources else None
        if len(bases) > 1:
            problems.append(f"The recipe has several bases ({', '.join(bases)}); changes are against {bases[0]}.")
        if base is None:
            problems.append("There is no base: what is called a change is the model itself. Name one with --base.")
    return Comparable(base, tuple(sources.values()), tuple(problems))


def _above(resolved: Resolved, save: str) -> list[str]:
    """The nodes that a save is made from, in the graph's order."""
    reached = {save}
    for name in reversed(list(resolved.nodes)):
        if name in reached:
            reached.update(resolved.nodes[name].node.inputs)
    return [name for name in resolved.nodes if name in reached]


def _bases(resolved: Resolved, above: Sequence[str]) -> list[str]:
    """The load nodes that deltas are taken against, the one that most are first."""
    found: Counter[str] = Counter()
    for name in above:
        node = resolved.nodes[name].node
        for edge, given in zip(node.method.edges(), node.inputs, strict=True):
            if edge.path[0] == "base" and resolved.nodes[given].node.space == "weights":
                found[resolved.trunk_load(given).node.name] += 1
    return [name for name, _ in found.most_common()]


def _source(node: ResolvedNode, exprs: Mapping[str, Expr]) -> Source:
    kinds = {name: (kind.dtype, kind.shape) for name, kind in node.tensors.items()}
    reference = node.checkpoint.reference if node.checkpoint else ""
    return Source(node.node.name, kinds, exprs, node.node.space == "delta", reference)


def _looked(found: Comparable, tensor: Made, *, is_delta: bool) -> Looked:
    here = Looked(tensor.name, tensor.dtype, tensor.shape)
    if not tensor.dtype.is_float:
        return _not_floating(here)
    root = tensor.root
    if isinstance(root, Cast) and isinstance(root.operand, Joined):
        return replace(here, skipped="it is written as factors")
    known = {each for source in found.every for each in reads(*source.named(tensor.name))}
    if any(each not in known for each in tensor.reads):
        return replace(here, skipped="it is made of tensors with other names")
    looked = _measurable(found, here)
    if looked.skipped:
        return looked
    if not is_delta:
        looked = replace(looked, result=root.operand if isinstance(root, Cast) else root)
    looked = replace(looked, losses=losses(root, looked.base, looked.changes))
    return replace(here, skipped=reason) if (reason := _changes_the_program(looked, tensor)) else looked


def _is_adapter(made: Sequence[Made]) -> bool:
    return any(isinstance(each.root, Cast) and isinstance(each.root.operand, Joined) for each in made)


def _changes_the_program(looked: Looked, tensor: Made) -> str:
    """Why looking at a tensor would change how it is computed, and so its bytes; empty where it would not."""
    if isinstance(tensor.root, Read):
        return (
            "" if granularity_of(*walk_parts(*looked.feed)) == "element" else "an adapter's product is not part of it"
        )
    if computes_in_double(reads(*looked.feed)) != computes_in_double(tensor.reads):
        return "a model that it is compared with is float64, and it is computed in float32"
    if granularity_of(*walk_parts(tensor.root, *looked.feed)) != granularity_of(*walk_parts(tensor.root)):
        return "an adapter's product is not part of it"
    return ""


def _not_floating(here: Looked) -> Looked:
    return replace(here, skipped=f"it is {here.dtype.torch_name or here.dtype.code}, not floating point")


def _measurable(found: Comparable, here: Looked) -> Looked:
    """With base and changes; or skipped, where a model has no tensor to compare."""
    name, base = here.name, found.base
    reasons = [source.lacks(name, here.shape) for source in found.every]
    if reason := next(filter(None, reasons), ""):
        return replace(here, skipped=reason)
    before = base.exprs[name] if base else None
    if not found.sources:
        return replace(here, skipped="there is no source but the base")
    changes = tuple([_change(source, name, before) for source in found.sources])
    stored = tuple([source.stored(name) if source else "" for source in (base, *found.sources)])
    return replace(here, base=before, changes=changes, stored=stored)


def _change(source: Source, name: str, before: Expr | None) -> Expr:
    expr = source.exprs.get(name)
    if expr is None or (expr is before and not source.is_delta):
        return linear([], "delta")
    if source.is_delta or before is None:
        return expr
    return linear([(_ONE, expr), (-_ONE, before)], "delta")


def _read(tensor: StoredTensor, checkpoint: Checkpoint) -> Read:
    return read(
        tensor.path, tensor.name, tensor.dtype.code, tensor.shape, tensor.offset, tensor.nbytes, checkpoint.space,
        None, tensor.scale,
    )  # fmt: skip
