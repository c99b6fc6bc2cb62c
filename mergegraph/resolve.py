"""The graph meets the headers: which tensors every node has, of what shape and dtype, with which numbers.

Reads headers and config.json only (`mergegraph.lineage` adds the checks that look at tokenizers and at a few
pages of weights). Collects every problem before it raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mergegraph.adapting import fitted
from mergegraph.alignment import Aligned, RowView, align
from mergegraph.dtypes import BY_CODE, DType
from mergegraph.errors import Location, MergegraphError, Problem, RecipeError, raise_errors
from mergegraph.graph import Graph, GraphNode
from mergegraph.methods.base import Method, NodeTensors, Parameters, Path, TensorType
from mergegraph.methods.load import Load
from mergegraph.methods.lora import Lora
from mergegraph.recipe.model import Expression, Recipe, dump_method
from mergegraph.schedule import ResolvedSchedule, resolve_schedule, select
from mergegraph.tensors.adapter import Adapter
from mergegraph.tensors.adapter_targets import Target
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.header import StoredTensor
from mergegraph.ties import settle_ties, untied_config
from mergegraph.token_rows import config_with_rows, moved_ids, vocabulary_rows

_OPTION = re.compile(r"`((?:missing|extra): (?:keep|drop))`")


@dataclass(frozen=True)
class ResolvedNode:
    """A node with its tensors. `routes` as in `methods.base.Assembly`; `trunk` is an edge index.

    For a load node `checkpoint` is set and `stored` holds its tensors under the names they have in the graph.
    `tied`: the trunk's config says that the head is the embedding. `exempt`: the tensors that the method leaves out.
    """

    node: GraphNode
    tensors: Mapping[str, TensorType]
    routes: Mapping[str, tuple[int, str]]
    schedules: Mapping[Path, ResolvedSchedule]
    trunk: int
    checkpoint: Checkpoint | None
    stored: Mapping[str, StoredTensor]
    tied: bool
    exempt: frozenset[str] = frozenset()
    duplicates: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of a tied load node: the heads that it stores all the same, with the embedding that each must equal."""
    aligned: Aligned | None = None
    """Of a load node with `vocab:`: its vocabulary, and which rows it takes from where."""
    views: Mapping[str, RowView] = field(default_factory=dict[str, RowView])
    """Of a load node with `vocab:`: the tensors whose rows are not as they are stored."""
    adapter: Adapter | None = None
    """Of a lora node."""
    targets: Mapping[str, Target] = field(default_factory=dict[str, Target])
    """Of a lora node: what it adds to which tensors."""

    @property
    def method(self) -> Method:
        return self.node.method

    def parameters(self, tensor: str) -> Parameters:
        """The numbers of one of this node's tensors."""
        return Parameters({path: schedule.value(tensor) for path, schedule in self.schedules.items()})


@dataclass(frozen=True)
class Resolved:
    """Every node of the graph with its tensors; order as in the graph."""

    graph: Graph
    nodes: Mapping[str, ResolvedNode]
    warnings: tuple[Problem, ...]

    def inputs(self, name: str) -> list[ResolvedNode]:
        """The resolved inputs of a node, by edge."""
        return [self.nodes[input_name] for input_name in self.nodes[name].node.inputs]

    def trunk_load(self, name: str) -> ResolvedNode:
        """The load node that a node's trunk leads down to."""
        resolved = self.nodes[name]
        while resolved.checkpoint is None:
            resolved = self.nodes[resolved.node.inputs[resolved.trunk]]
        return resolved

    def config(self, name: str) -> dict[str, Any]:
        """The config.json that fits a node's result; {} where the trunk has none."""
        configs: dict[str, dict[str, Any]] = {}
        for node_name, resolved in self.nodes.items():
            if resolved.checkpoint is not None:
                configs[node_name] = dict(resolved.checkpoint.config)
            else:
                inputs = [configs[input_name] for input_name in resolved.node.inputs]
                configs[node_name] = resolved.method.repair_config(inputs, resolved.trunk)
            if node_name == name:
                break
        return configs[name]


def resolve(
    graph: Graph, checkpoints: Mapping[str, Checkpoint], adapters: Mapping[str, Adapter] | None = None
) -> Resolved:
    """Tensors, shapes and schedules of every node. RecipeError lists everything that does not fit."""
    nodes: dict[str, ResolvedNode] = {}
    problems: list[Problem] = list(graph.warnings)
    failed: set[str] = set()
    loads = _Loads(graph, checkpoints)
    for name, node in graph.nodes.items():
        if any(input_name in failed for input_name in node.inputs):
            failed.add(name)
            continue
        inputs = [nodes[input_name] for input_name in node.inputs]
        found: list[Problem] = []
        if name in checkpoints:
            resolved = loads.resolved(node, checkpoints[name], found)
        elif isinstance(node.method, Lora):
            resolved = _resolve_lora(node, (adapters or {})[name], inputs, found)
        else:
            resolved = _resolve(node, inputs, found)
            written = graph.recipe.nodes.get(node.written_as)
            if written is not None and isinstance(written.method, Expression):
                found = [_as_a_node(node, graph.recipe, problem) for problem in found]
        nodes[name] = resolved
        problems += found
        if any(problem.severity == "error" for problem in found):
            failed.add(name)
    for checkpoint in {id(checkpoint): checkpoint for checkpoint in checkpoints.values()}.values():
        problems += checkpoint.warnings
    for adapter in {id(adapter): adapter for adapter in (adapters or {}).values()}.values():
        problems += adapter.warnings
    warnings = raise_errors(problems, RecipeError)
    resolved = Resolved(graph, nodes, warnings)
    raise_errors(_config_problems(resolved), RecipeError)
    return resolved


class _Loads:
    """The load nodes of a graph: what each has depends on those that it meets, and on those it is aligned to."""

    def __init__(self, graph: Graph, checkpoints: Mapping[str, Checkpoint]) -> None:
        self.found: dict[str, list[Problem]] = {}
        loads = {name: node for name, node in graph.nodes.items() if name in checkpoints}
        named = {
            name: _named_tensors(node, checkpoints[name], self.found.setdefault(name, []))
            for name, node in loads.items()
        }
        self.ties = settle_ties(graph.nodes, checkpoints, named)
        self.stored: dict[str, Mapping[str, StoredTensor]] = {
            name: {**tensors, **{head: tensors[x] for head, x in self.ties.offered.get(name, {}).items()}}
            for name, tensors in named.items()
        }
        self.aligned, problems = align(loads, checkpoints, self.stored)
        for name, each in problems.items():
            self.found[name] += each

    def resolved(self, node: GraphNode, checkpoint: Checkpoint, found: list[Problem]) -> ResolvedNode:
        """One load node; what is wrong with it goes into `found`."""
        name, stored = node.name, self.stored[node.name]
        found += [problem.located(node.at, name) for problem in self.found[name]]
        tensors = {each: TensorType(_dtype(tensor), tensor.shape) for each, tensor in stored.items()}
        config: Mapping[str, Any] = checkpoint.config
        if name in self.ties.untied:
            config = untied_config(config)
        aligned, views = self.aligned.get(name), dict[str, RowView]()
        if aligned is not None:
            views = aligned.views(stored, self.stored, vocabulary_rows(stored, checkpoint.config))
            tensors |= {each: TensorType(tensors[each].dtype, view.shape) for each, view in views.items()}
            config = config_with_rows(moved_ids(config, aligned.moved, aligned.lost), aligned.vocabulary.row_count)
        if config is not checkpoint.config:
            checkpoint = replace(checkpoint, config=config)
        tied, duplicates = name in self.ties.tied, self.ties.duplicates.get(name, {})
        return ResolvedNode(
            node, tensors, {}, {}, 0, checkpoint, stored, tied, duplicates=duplicates, aligned=aligned, views=views
        )


def _dtype(tensor: StoredTensor) -> DType:
    """What its numbers are: those of float8 blocks are bfloat16 once they are scaled."""
    return tensor.dtype if tensor.scale is None else BY_CODE["BF16"]


def _named_tensors(node: GraphNode, checkpoint: Checkpoint, found: list[Problem]) -> dict[str, StoredTensor]:
    """The stored tensors under the names that they have in the graph."""
    method = node.method
    assert isinstance(method, Load)
    stored: dict[str, StoredTensor] = {}
    for name, tensor in checkpoint.tensors.items():
        renamed = method.renamed(name)
        if renamed in stored:
            found.append(
                Problem(
                    f"`rename` gives two tensors the name {renamed}.",
                    at=node.source.where(("rename",)),
                    node=node.name,
                    tensor=name,
                    model=checkpoint.reference,
                    fix="choose a prefix that no other tensor has",
                )
            )
        stored[renamed] = tensor
    for prefix in method.rename:
        if not any(name.startswith(prefix) for name in checkpoint.tensors):
            first = next(iter(checkpoint.tensors), "none")
            found.append(
                Problem(
                    f'`rename`: no tensor begins with "{prefix}".',
                    at=node.source.where(("rename", prefix)),
                    node=node.name,
                    model=checkpoint.reference,
                    why=f"the first tensor of the model is {first}",
                    fix="use a prefix of the names in the model",
                )
            )
    return stored


def _resolve_lora(node: GraphNode, adapter: Adapter, inputs: list[ResolvedNode], found: list[Problem]) -> ResolvedNode:
    """An adapter has the tensors that it changes, each of the base's dtype and shape."""
    (base,) = inputs
    targets = fitted(node, adapter, base.tensors, found)
    tensors = {name: base.tensors[name] for name in targets}
    schedules = dict(_schedules(node, list(tensors), inputs, found)) if tensors else {}
    return ResolvedNode(node, tensors, {}, schedules, 0, None, {}, base.tied, adapter=adapter, targets=targets)


def _resolve(node: GraphNode, inputs: list[ResolvedNode], found: list[Problem]) -> ResolvedNode:
    views = [NodeTensors(resolved.node.space, resolved.tensors) for resolved in inputs]
    assembly = node.method.assemble(views, node.space)
    found += [problem.located(node.at, node.written_as) for problem in assembly.problems]
    if not assembly.tensors and not any(problem.severity == "error" for problem in found):
        found.append(Problem("No tensor is left.", at=node.at, node=node.written_as, fix="widen what the node selects"))
    schedules = dict(_schedules(node, list(assembly.tensors), inputs, found))
    trunk = node.method.trunk([view.space for view in views])
    exempt = _exempt(node, list(assembly.tensors), found)
    resolved = ResolvedNode(
        node, assembly.tensors, assembly.routes, schedules, trunk, None, {}, inputs[trunk].tied, exempt
    )
    if not any(problem.severity == "error" for problem in found):
        found += [problem.located(node.at, node.written_as) for problem in _objections(resolved)]
    return resolved


def _as_a_node(node: GraphNode, recipe: Recipe, problem: Problem) -> Problem:
    """The same problem; an option that its fix adds is added to a node, because an expression holds none."""
    option = _OPTION.search(problem.fix)
    if option is None:
        return problem
    fix = f"write the expression as nodes, and add `{option[1]}` to the one with op: {node.method.op}"
    if all(name in recipe.nodes for name in node.inputs):
        form = f"{dump_method(node.method).removesuffix('}')}, {option[1]}}}"
        fix = f"in a recipe, write a node for it, and use that in the expression: d: {form}"
    return replace(problem, fix=fix)


def _exempt(node: GraphNode, tensors: list[str], found: list[Problem]) -> frozenset[str]:
    selector = node.method.exempts()
    if selector is None:
        return frozenset()
    exempt, problems = select(selector, tensors, field="except")
    found += [problem.located(node.source.where(("except",)), node.written_as) for problem in problems]
    return frozenset(exempt)


def _schedules(
    node: GraphNode, tensors: list[str], inputs: list[ResolvedNode], found: list[Problem]
) -> Iterator[tuple[Path, ResolvedSchedule]]:
    tied = any(resolved.tied for resolved in inputs)
    for path, schedule in node.method.coefficients():
        where = partial(_rule_place, node, path)
        resolved, problems = resolve_schedule(schedule, tensors, field=".".join(map(str, path)), tied=tied, where=where)
        found += [problem.located(node.source.where(path), node.written_as) for problem in problems]
        yield path, resolved


def _rule_place(node: GraphNode, path: Path, rule: int) -> Location:
    return node.source.where((*path, rule))


def _objections(resolved: ResolvedNode) -> Iterator[Problem]:
    """What the method says against any of the distinct sets of numbers its tensors get."""
    if type(resolved.method).objection is Method.objection:
        return
    seen: set[tuple[object, ...]] = set()
    for tensor in resolved.tensors:
        numbers = tuple(schedule.value(tensor) for schedule in resolved.schedules.values())
        if numbers not in seen:
            seen.add(numbers)
            if problem := resolved.method.objection(resolved.parameters(tensor)):
                yield replace(problem, tensor=tensor)
                return


def _config_problems(resolved: Resolved) -> Iterator[Problem]:
    """A config that a node cannot repair is found here, not after the merge."""
    for name in resolved.graph.saves:
        try:
            resolved.config(name)
        except MergegraphError as error:
            at = resolved.nodes[name].node.at
            yield from (problem.located(at, name) for problem in error.problems)
