"""`save … format: peft`: a delta of low rank, written as its factors.

What sums, scales and soups make of `lora` and `low_rank` is, tensor by tensor, Σ c_i B_i A_i. That is one product:
the B_i side by side, each times its c_i, with the A_i below each other. Nothing is approximated here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any, Literal

from mergegraph.dtypes import BY_CODE, DType, by_name
from mergegraph.errors import Problem
from mergegraph.expr import Apply, Cast, Expr, Factor, Joined, Linear, Product, Read, as_matrix, cast, factor, joined
from mergegraph.graph import GraphNode
from mergegraph.methods.base import Method
from mergegraph.methods.linear import Negate, Scale, Soup, Sum
from mergegraph.methods.lora import Lora
from mergegraph.methods.low_rank import LowRank
from mergegraph.methods.save import Save
from mergegraph.methods.select import Select
from mergegraph.naming import role
from mergegraph.plan.groups import OutputTensor, output_tensor
from mergegraph.plan.plan import Output, Sidecars
from mergegraph.plan.program import computes_in_double
from mergegraph.plan.sidecars import sidecars
from mergegraph.resolve import Resolved
from mergegraph.tensors.adapter import CONFIG, PREFIX
from mergegraph.tensors.adapter_targets import Target
from mergegraph.tensors.layout import TensorSpec, lay_out
from mergegraph.walking import reads

Way = Literal["plain", "transposed", "embedding"]
_LINEAR: tuple[type[Method], ...] = (Sum, Scale, Negate, Soup, Select)
_SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """One term of a tensor: `coefficient` · `left` · `right`, the transpose of that in the other ways."""

    coefficient: Fraction
    left: Read | Factor
    right: Read | Factor
    way: Way


@dataclass(frozen=True)
class Written:
    """One module of the adapter."""

    module: str
    pairs: tuple[Pair, ...]
    shape: tuple[int, ...]
    """Of the base's tensor."""

    @property
    def rank(self) -> int:
        return sum(as_matrix(pair.right)[0] for pair in self.pairs)

    @property
    def way(self) -> Way:
        return self.pairs[0].way


class _NoProduct(ValueError):
    """Why a tensor is not a sum of products."""


def peft_output(
    resolved: Resolved, save: GraphNode, path: Path, table: Mapping[str, Expr], found: list[Problem]
) -> Output:
    """The adapter that a save writes; what cannot be written goes into `found`."""
    method = save.method
    assert isinstance(method, Save)
    modules = _modules(resolved, save, table, found)
    wanted = by_name(method.dtype) if method.dtype else None
    tensors = [tensor for each in modules for tensor in _tensors(each, wanted)]
    specs = [TensorSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
    layout = lay_out(specs, sum(spec.nbytes for spec in specs) + 1, {}, stem="adapter_model")
    beside = sidecars(resolved, save, (), [])
    config = _config(resolved, save, modules, beside.base_models) if modules else {}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    return Output(
        save.name, resolved.nodes[save.inputs[0]].node.written_as, save.at, path, save.space, tuple(tensors), layout,
        Sidecars({}, (), "", beside.base_models, beside.licence, ((CONFIG, text),)),
    )  # fmt: skip


def _modules(resolved: Resolved, save: GraphNode, table: Mapping[str, Expr], found: list[Problem]) -> list[Written]:
    shapes = {name: kind.shape for name, kind in resolved.nodes[save.name].tensors.items()}
    targets = _targets(resolved)
    modules: list[Written] = []
    refused: dict[str, str] = {}
    for name, expr in table.items():
        try:
            pairs = tuple(_pairs(expr, name, shapes[name]))
            if pairs:
                modules.append(Written(_module(name, pairs, targets), pairs, shapes[name]))
        except _NoProduct as error:
            refused[name] = str(error)
    if refused:
        found.append(_refusal(resolved, save, refused))
    elif not modules:
        fact = "The delta is zero everywhere: there is nothing to write into an adapter."
        found.append(Problem(fact, at=save.at, node=save.name, fix="save another node"))
    found += _by_biases(resolved, save, modules)
    return modules


def _pairs(expr: Expr, name: str, shape: tuple[int, ...]) -> Iterator[Pair]:
    """The terms of a tensor, all of one way. _NoProduct says why there are none."""
    terms = expr.terms if isinstance(expr, Linear) and not expr.is_difference else ((Fraction(1), expr),)
    pairs = [_pair(coefficient, operand, name, shape) for coefficient, operand in terms]
    if len({pair.way for pair in pairs}) > 1:
        raise _NoProduct("its terms are stored [out, in] and [in, out], which one pair of matrices cannot be")
    yield from pairs


def _pair(coefficient: Fraction, operand: Expr, name: str, shape: tuple[int, ...]) -> Pair:
    if isinstance(operand, Product):
        is_embedding = "lora_embedding_" in operand.right.name
        way: Way = "embedding" if is_embedding else "transposed" if operand.is_transposed else "plain"
        return Pair(coefficient, operand.left, operand.right, way)
    if not (isinstance(operand, Apply) and operand.kernel == LowRank.op_name()):
        raise _NoProduct("it is no product of two matrices")
    if len(shape) == 3:
        raise _NoProduct("it is a stack of matrices, and an adapter holds one pair for a module")
    if role(name).kind == "embedding":
        raise _NoProduct("it is an embedding, whose pair peft stores the other way round")
    rank = dict(operand.parameters).get("rank")
    if not isinstance(rank, int):
        raise _NoProduct("`energy` finds its rank while the merge runs, and an adapter is laid out before")
    matrix = shape[0], prod(shape[1:])
    (delta,) = operand.operands
    left, right = (factor(delta, min(rank, *matrix), side, matrix) for side in ("left", "right"))
    return Pair(coefficient, left, right, "plain")


def _refusal(resolved: Resolved, save: GraphNode, refused: Mapping[str, str]) -> Problem:
    """Names the node that makes more than products, or the one that approximates and leaves a tensor as it is."""
    first, why = next(iter(refused.items()))
    more = f" (and {len(refused) - 1:,} more tensors)" if len(refused) > 1 else ""
    node = _culprit(resolved, save.inputs[0])
    name = node.written_as
    if not isinstance(node.method, LowRank):
        fix = f"approximate it first: {{op: low_rank, input: {name}, rank: 16}}"
    elif node.method.energy is not None:
        fix = f'write `rank: 16` in place of `energy: {node.method.energy:g}` in node "{name}"'
    else:
        fix = (
            "leave such tensors out: "
            f"{{op: select, cases: [{{kind: attention, from: {name}}}, {{kind: mlp, from: {name}}}]}}"
        )
    return Problem(
        f"{first} cannot stand in a LoRA adapter{more}.", at=node.at, node=name, tensor=first,
        why=f'{why}; node "{name}" ({node.method.op}) made it, and "{save.name}" has `format: peft`', fix=fix,
    )  # fmt: skip


def _culprit(resolved: Resolved, name: str) -> GraphNode:
    """The first node below, in recipe order, that is neither linear nor an adapter; else a low_rank; else `name`."""
    pending, reached = [name], dict[str, GraphNode]()
    while pending:
        node = resolved.nodes[pending.pop()].node
        if node.name not in reached:
            reached[node.name] = node
            pending += node.inputs if isinstance(node.method, _LINEAR) else ()
    ordered = [reached[each] for each in resolved.nodes if each in reached]
    strange = [node for node in ordered if not isinstance(node.method, (*_LINEAR, Lora, LowRank))]
    found = [node for node in ordered if isinstance(node.method, LowRank)]
    found.sort(key=lambda node: isinstance(node.method, LowRank) and node.method.energy is None)
    return next(iter([*strange, *found]), reached[name])


def _targets(resolved: Resolved) -> dict[tuple[str, int], Target]:
    """The stored A matrices, with what they belong to."""
    return {
        (target.factors.right.path, target.factors.right.offset): target
        for node in resolved.nodes.values()
        for target in node.targets.values()
    }


def _module(name: str, pairs: Sequence[Pair], targets: Mapping[tuple[str, int], Target]) -> str:
    """The module of a tensor: by its name, with the prefix that an adapter knows it under."""
    module = name.removesuffix(".weight")
    if module == name:
        raise _NoProduct("it is not the `weight` of a module")
    for pair in pairs:
        target = targets.get((pair.right.path, pair.right.offset)) if isinstance(pair.right, Read) else None
        theirs = target.factors.module if target is not None else module
        if f".{theirs}".endswith(f".{module}") or f".{module}".endswith(f".{theirs}"):
            return theirs
    return module


def _by_biases(resolved: Resolved, save: GraphNode, modules: Sequence[Written]) -> Iterator[Problem]:
    """A base that stores its matrices [in, out], as GPT-2 does, wants the factors of a transpose."""
    base = resolved.trunk_load(save.name).tensors
    for each in modules:
        bias, computed = base.get(f"{each.module}.bias"), isinstance(each.pairs[0].right, Factor)
        if computed and len(each.shape) == 2 and bias is not None and bias.shape == each.shape[1:] != each.shape[:1]:
            yield Problem(
                f"The base stores {each.module} as [in, out], and low_rank's factors are of [out, in].",
                at=save.at, node=save.name, tensor=f"{each.module}.weight",
                why=f"its bias has {bias.shape[0]:,} elements, as the matrix has columns: peft would transpose it",
                fix="save it with `format: delta`",
            )  # fmt: skip
            return


def _tensors(module: Written, wanted: DType | None) -> Iterator[OutputTensor]:
    """The two matrices of a module. Without a dtype float32, float64 where something is: B holds the coefficients."""
    pairs, rank = module.pairs, module.rank
    double = computes_in_double(reads(*(side for pair in pairs for side in (pair.left, pair.right))))
    dtype = wanted or BY_CODE["F64" if double else "F32"]
    is_embedding = module.way == "embedding"
    further = module.shape[2:]
    rows, columns = as_matrix(pairs[0].left)[0], as_matrix(pairs[0].right)[1]
    right = (rank, *module.shape[1:]) if further else (rank, columns)
    left = (rows, rank, *(1 for _ in further))
    for letter, shape, side in (("A", right, 0), ("B", left, 1)):
        name = f"{PREFIX}{module.module}." + (f"lora_embedding_{letter}" if is_embedding else f"lora_{letter}.weight")
        terms = [(pair.coefficient if side else Fraction(1), pair.left if side else pair.right) for pair in pairs]
        yield output_tensor(name, dtype, shape, _root(terms, 1 if side else 0, dtype))


def _root(terms: Sequence[tuple[Fraction, Read | Factor]], axis: Literal[0, 1], dtype: DType) -> Expr:
    (coefficient, only), *others = terms
    if isinstance(only, Read) and coefficient == 1 and not others:
        return cast(only, dtype.code)
    root = cast(joined(terms, axis), dtype.code)
    assert isinstance(root, Cast)
    assert isinstance(root.operand, Joined)
    return root


def _config(
    resolved: Resolved, save: GraphNode, modules: Sequence[Written], base_models: Sequence[str]
) -> dict[str, Any]:
    """adapter_config.json. Alpha is the rank everywhere: what scales the product is in B."""
    ranks = {each.module: each.rank for each in modules}
    usual = Counter(ranks.values()).most_common(1)[0][0]
    pattern = _pattern(ranks, usual)
    trunk = resolved.trunk_load(save.name)
    assert trunk.checkpoint is not None
    names = [name.removesuffix(".weight") for name, kind in trunk.tensors.items() if len(kind.shape) > 1]
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_models[0] if len(base_models) == 1 else trunk.checkpoint.reference,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": _target_modules(list(ranks), names),
        "fan_in_fan_out": any(each.way == "transposed" for each in modules),
        "use_rslora": False,
        "use_dora": False,
        "bias": "none",
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }


def _pattern(ranks: Mapping[str, int], usual: int) -> dict[str, int]:
    """The ranks that differ. A pattern also fits modules whose names end with it: where that would catch one of
    another rank, all are written, longest first."""
    differing = {_as_pattern(module): rank for module, rank in ranks.items() if rank != usual}
    caught = any(
        rank == usual and any(re.match(rf"(.*\.)?({key})$", module) for key in differing)
        for module, rank in ranks.items()
    )
    nested = any(re.match(rf".*\.({key})$", module) for key in differing for module in ranks)
    if not (caught or nested):
        return differing
    return {_as_pattern(module): ranks[module] for module in sorted(ranks, key=len, reverse=True)}


def _as_pattern(module: str) -> str:
    """A regular expression, as peft reads it; its dots are left as people write them."""
    return module if re.fullmatch(r"[\w.]+", module) else re.escape(module)


def _target_modules(modules: Sequence[str], base: Sequence[str]) -> list[str]:
    """`q_proj` where every module of that name has a pair, else whole names: peft adds to whatever ends so."""
    ours, theirs = Counter(map(_last, modules)), Counter(map(_last, base))
    short = {word for word in ours if ours[word] >= theirs[word] and not word.isdigit()}
    return sorted({_last(module) if _last(module) in short else module for module in modules})


def _last(module: str) -> str:
    return module.rpartition(".")[2]
