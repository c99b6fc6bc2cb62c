"""A resolved graph becomes a plan: outputs, groups, files to read, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mergegraph.dtypes import BY_CODE, DType, by_name
from mergegraph.errors import Problem, RecipeError, raise_errors
from mergegraph.expr import Expr, Read, cast
from mergegraph.graph import GraphNode
from mergegraph.methods.save import Save
from mergegraph.plan.alike import Made
from mergegraph.plan.compile import Comparison, Compiled, compile_graph
from mergegraph.plan.free_memory import default_budget
from mergegraph.plan.groups import (
    Gathering,
    Group,
    OutputTensor,
    gatherings,
    group_outputs,
    model_groups,
    output_tensor,
)
from mergegraph.plan.output_paths import bucket_overlaps, destinations, output_paths, overlaps
from mergegraph.plan.peft import peft_output
from mergegraph.plan.plan import (
    InputFile,
    Output,
    Plan,
    default_workers,
)
from mergegraph.plan.program import outline
from mergegraph.plan.projecting import projection
from mergegraph.plan.sidecars import sidecars
from mergegraph.plan.survey import Looked, Source, Survey, model_source, survey, survey_of_models
from mergegraph.recipe.model import dump_recipe
from mergegraph.resolve import Resolved
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.layout import TensorSpec, lay_out
from mergegraph.ties import tied_pairs
from mergegraph.token_rows import config_with_rows, vocabulary_rows, vocabulary_tensors
from mergegraph.walking import reads


def make_plan(
    resolved: Resolved,
    *,
    budget_bytes: int | None = None,
    workers: int | None = None,
    output: Path | None = None,
    may_lack_path: bool = False,
    stats: Stats | None = None,
) -> Plan:
    """The plan of every save. `output` replaces the path of the only save.

    `may_lack_path`: a save without a path is only warned of, for a plan that is looked at and never run.

    `stats`: also keep statistics of what is written, or keep them only.

    RecipeError when an output has no path, or lies inside an input, or two saves share one.
    """
    compiled = compile_graph(resolved)
    recipe = resolved.graph.recipe
    found: list[Problem] = []
    paths = output_paths(resolved, output, found, may_lack_path=may_lack_path)
    found += overlaps(resolved, paths)
    goals = destinations(resolved, output)
    found += bucket_overlaps(resolved, goals)
    outputs = tuple(
        replace(
            _output(resolved, resolved.nodes[name].node, paths.get(name, Path()), compiled.tables[name], found),
            destination=goals.get(name, ""),
        )
        for name in resolved.graph.saves
    )
    raise_errors(found, RecipeError)
    surveys = _surveys(resolved, compiled, outputs, stats) if stats else ()
    groups = group_outputs(outputs, surveys, writes=stats is None or stats.writes)
    gathered = gatherings([each.tensors for each in outputs])
    budget = default_budget() if budget_bytes is None else budget_bytes
    inputs = _input_files(resolved, outputs, gathered, compiled.comparisons, groups)
    if stats and isinstance(stats.base, Checkpoint):
        inputs = (*inputs, *base_files(stats.base, inputs))
    warnings = (*resolved.warnings, *(problem for problem in found if problem.severity == "warning"))
    return Plan(
        name=recipe.name,
        seed=recipe.seed,
        recipe_text=dump_recipe(recipe),
        inputs=inputs,
        unread=_unread(resolved, inputs),
        outputs=outputs,
        gatherings=gathered,
        groups=groups,
        comparisons=compiled.comparisons,
        projection=projection(groups, gathered, budget, workers or default_workers(groups, inputs)),
        warnings=warnings,
        surveys=surveys,
    )


@dataclass(frozen=True)
class Stats:
    """How statistics are kept: in the pass that writes, or without writing anything. `base`: a load node, or a model
    that the recipe has not, in place of the recipe's own base."""

    writes: bool = True
    base: str | Checkpoint | None = None


def _surveys(resolved: Resolved, compiled: Compiled, outputs: Sequence[Output], stats: Stats) -> tuple[Survey, ...]:
    leaves = {name: {each: made.expr for each, made in table.items()} for name, table in compiled.leaves.items()}
    base = model_source(stats.base.reference, stats.base) if isinstance(stats.base, Checkpoint) else stats.base
    recipe = resolved.graph.recipe.name
    return tuple([survey(resolved, output.node, output.tensors, leaves, base, recipe) for output in outputs])


_NO_BASE = "There is no base: what is called a change is the model itself. Name one with --base."


def plan_of_models(
    base: Source | None,
    models: Sequence[Source],
    checkpoints: Sequence[Checkpoint],
    *,
    budget_bytes: int | None = None,
    workers: int | None = None,
) -> Plan:
    """The plan of looking at models, with nothing made of them. `checkpoints`: all that are read."""
    looked = _completed(survey_of_models(base, models), base, models)
    groups = model_groups(looked)
    inputs = list[InputFile]()
    for checkpoint in checkpoints:
        inputs += base_files(checkpoint, inputs)
    budget = default_budget() if budget_bytes is None else budget_bytes
    return Plan(
        name="",
        seed=0,
        recipe_text="",
        inputs=tuple(inputs),
        unread=(),
        outputs=(),
        gatherings=(),
        groups=groups,
        comparisons=(),
        projection=projection(groups, (), budget, workers or default_workers(groups, inputs)),
        warnings=tuple([warning for checkpoint in checkpoints for warning in checkpoint.warnings]),
        surveys=(looked,),
    )


def _completed(looked: Survey, base: Source | None, models: Sequence[Source]) -> Survey:
    """With the tensors that the first model lacks and another or the base has (of an adapter that means nothing), and
    with a word about a base that there is not."""
    every = [*([base] if base else []), *models]
    first = models[0].tensors
    more: list[Looked] = []
    for name in dict.fromkeys(name for model in every for name in model.tensors if name not in first):
        dtype, shape = next(model.tensors[name] for model in every if name in model.tensors)
        reason = next(filter(None, (model.lacks(name, shape) for model in every)), "")
        more += [Looked(name, dtype, shape, skipped=reason)] if reason else []
    said = () if base or all(model.is_delta for model in models) else (_NO_BASE,)
    return replace(looked, tensors=(*looked.tensors, *more), problems=(*said, *looked.problems))


def base_files(checkpoint: Checkpoint, known: Sequence[InputFile]) -> Iterator[InputFile]:
    """The files of a model that no node loads."""
    paths = {file.path for file in known}
    for file in checkpoint.files:
        if file.path not in paths:
            yield InputFile(checkpoint.reference, file.path, file.file_bytes, file.identity, checkpoint.reference)


def _output(resolved: Resolved, save: GraphNode, path: Path, made: Mapping[str, Made], found: list[Problem]) -> Output:
    method, table = save.method, {name: each.expr for name, each in made.items()}
    assert isinstance(method, Save)
    if method.format == "peft":
        return peft_output(resolved, save, path, table, found)
    wanted = by_name(method.dtype) if method.dtype else None
    kinds = resolved.nodes[save.name].tensors
    heads = tied_pairs(kinds) if resolved.trunk_load(save.name).tied else {}
    dtypes = {name: _dtype(kind.dtype, wanted, table[name]) for name, kind in kinds.items() if name not in heads}
    shapes = {name: kinds[name].shape for name in dtypes}
    padded = _padded(resolved, save, method, shapes)
    specs = [TensorSpec(name, dtype, padded.get(name, shapes[name])) for name, dtype in dtypes.items()]
    space = save.space
    layout = lay_out(specs, method.max_shard_bytes, {"mergegraph.space": "delta"} if space == "delta" else {})
    tensors = tuple(_output_tensor(name, dtypes[name], shapes[name], made[name]) for name in layout.file_of)
    found += _tie_problems(resolved, save, heads, table)
    floats = [dtype for dtype in dtypes.values() if dtype.is_float]
    computed_by = resolved.nodes[save.inputs[0]].node.written_as
    beside = sidecars(resolved, save, floats, found)
    if padded:
        beside = replace(beside, config=config_with_rows(beside.config, next(iter(padded.values()))[0]))
    return Output(save.name, computed_by, save.at, path, space, tensors, layout, beside)


def _padded(
    resolved: Resolved, save: GraphNode, method: Save, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes of embedding and head with their rows up to a multiple, where that is asked for."""
    if method.pad_to_multiple_of is None:
        return {}
    kinds = resolved.nodes[save.name].tensors
    row_count = vocabulary_rows(kinds, resolved.config(save.name))
    rows = -(-row_count // method.pad_to_multiple_of) * method.pad_to_multiple_of
    names = vocabulary_tensors(kinds, row_count) if rows != row_count else []
    return {name: (rows, *shapes[name][1:]) for name in names if name in shapes}


def _tie_problems(
    resolved: Resolved, save: GraphNode, heads: Mapping[str, str], table: Mapping[str, Expr]
) -> Iterator[Problem]:
    """A head that is the embedding is not written, so it must be made the same way, of the same models."""
    models = {
        file.path: node.checkpoint.reference
        for node in resolved.nodes.values()
        if node.checkpoint is not None
        for file in node.checkpoint.files
    }
    for head, embedding in heads.items():
        outlines = [outline([table[name]])[0] for name in (head, embedding)]
        made_from = [[models.get(read.path, read.path) for read in reads(table[name])] for name in (head, embedding)]
        if outlines[0] != outlines[1] or made_from[0] != made_from[1]:
            what = "get other numbers" if outlines[0] != outlines[1] else "come from different models"
            numbers = _numbers_of(resolved, save, head, embedding)
            yield Problem(
                f"Head and embedding are tied, and {what}: {head} and {embedding}.",
                at=save.at, node=save.name, tensor=head,
                why="the config says that the head is the embedding, so one of the two results would be lost"
                + "".join(f"\n{line}" for line in numbers),
                fix="give the kinds head and embedding the same value"
                if outlines[0] != outlines[1] else "take both from one model",
            )  # fmt: skip


def _numbers_of(resolved: Resolved, save: GraphNode, head: str, embedding: str) -> Iterator[str]:
    """`by of "m": lm_head.weight gets 0.7, …`, for each number that differs in a node above the save."""
    above = {save.name}
    for name in reversed(list(resolved.nodes)):
        node = resolved.nodes[name]
        if name not in above:
            continue
        above.update(node.node.inputs)
        for path, schedule in node.schedules.items():
            if head in node.tensors and embedding in node.tensors:
                one, other = schedule.value(head), schedule.value(embedding)
                if one != other:
                    number = ".".join(map(str, path))
                    at = f'{number} of "{node.node.written_as}"'
                    yield f"{at}: {head} gets {float(one):g}, {embedding} gets {float(other):g}"


def _dtype(stored: DType, wanted: DType | None, expr: Expr) -> DType:
    """The dtype of an output tensor, `stored` being the trunk's: only floating tensors change theirs.

    What is computed is rounded to float8 only when that is asked for.
    """
    if not stored.is_float:
        return stored
    if wanted is None and stored.bits == 8 and not isinstance(expr, Read):
        return BY_CODE["BF16"]
    return wanted or stored


def _output_tensor(name: str, dtype: DType, shape: tuple[int, ...], made: Made) -> OutputTensor:
    root = cast(made.expr, dtype.code) if dtype.is_float else made.expr
    assert not isinstance(root, Read) or root.dtype == dtype.code, f"{name}: {root.dtype} copied as {dtype.code}"
    return output_tensor(name, dtype, shape, root, made.kind.made_by)


def _unread(resolved: Resolved, inputs: Sequence[InputFile]) -> tuple[str, ...]:
    """The load nodes none of whose files is read."""
    read_paths = {file.path for file in inputs}
    used = {name for node in resolved.nodes.values() for name in node.node.inputs}
    return tuple(
        name
        for name, node in resolved.nodes.items()
        if node.checkpoint is not None and name in used and not any(f.path in read_paths for f in node.checkpoint.files)
    )


def _input_files(
    resolved: Resolved,
    outputs: Sequence[Output],
    gathered: Sequence[Gathering],
    comparisons: Sequence[Comparison],
    groups: Sequence[Group],
) -> tuple[InputFile, ...]:
    """The files that are read, with the identities their headers were read under."""
    files: dict[str, InputFile] = {}
    for name, node in resolved.nodes.items():
        if (stored := node.checkpoint or node.adapter) is None:
            continue
        for file in stored.files:
            files.setdefault(file.path, InputFile(name, file.path, file.file_bytes, file.identity, stored.reference))
    leaves = [read for output in outputs for tensor in output.tensors for read in tensor.reads]
    leaves += [read for each in gathered for work, _ in each.members for read in work.reads]
    leaves += [read for each in comparisons for read in (each.kept, each.other)]
    leaves += [read for group in groups if group.measured for read in group.computation.reads]
    needed = {path for read in leaves for path in read.paths}
    return tuple(files[path] for path in sorted(needed) if path in files)
