"""A resolved graph becomes a plan: outputs, groups, files to read, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mergegraph.dtypes import DType, by_name
from mergegraph.errors import Location, Problem, RecipeError, raise_errors
from mergegraph.expr import Expr, cast, reads
from mergegraph.graph import GraphNode
from mergegraph.methods.save import Save
from mergegraph.plan.compile import Comparison, compile_graph
from mergegraph.plan.plan import (
    InputFile,
    Output,
    OutputTensor,
    Plan,
    default_budget,
    default_workers,
    group_outputs,
    projection,
)
from mergegraph.plan.sidecars import sidecars
from mergegraph.recipe.model import dump_recipe
from mergegraph.resolve import Resolved
from mergegraph.tensors.layout import TensorSpec, lay_out


def make_plan(
    resolved: Resolved,
    *,
    budget_bytes: int | None = None,
    workers: int | None = None,
    output: Path | None = None,
) -> Plan:
    """The plan of every save. `output` replaces the path of the only save.

    RecipeError when an output has no path, or lies inside an input, or two saves share one.
    """
    compiled = compile_graph(resolved)
    recipe = resolved.graph.recipe
    found: list[Problem] = []
    paths = _output_paths(resolved, output, found)
    found += _overlaps(resolved, paths)
    outputs = tuple(
        _output(resolved, resolved.nodes[name].node, paths[name], compiled.tables[name], found)
        for name in resolved.graph.saves
        if name in paths
    )
    raise_errors(found, RecipeError)
    groups = group_outputs(outputs)
    inputs = _input_files(resolved, outputs, compiled.comparisons)
    warnings = (*resolved.warnings, *(problem for problem in found if problem.severity == "warning"))
    return Plan(
        name=recipe.name,
        seed=recipe.seed,
        recipe_text=dump_recipe(recipe),
        inputs=inputs,
        unread=_unread(resolved, inputs),
        outputs=outputs,
        groups=groups,
        comparisons=compiled.comparisons,
        projection=projection(outputs, groups, budget_bytes or default_budget(), workers or default_workers()),
        warnings=warnings,
    )


def _output_paths(resolved: Resolved, output: Path | None, found: list[Problem]) -> dict[str, Path]:
    """Where each save goes, absolute. `-o` needs exactly one save."""
    paths: dict[str, Path] = {}
    saves = resolved.graph.saves
    if output is not None and len(saves) != 1:
        found.append(
            Problem(
                f"-o gives one path, and the recipe has {len(saves)} saves.",
                why=", ".join(saves),
                fix="give each save its own `path:`, or `skip: true` the others",
            )
        )
        return paths
    for name in saves:
        node = resolved.nodes[name].node
        method = node.method
        assert isinstance(method, Save)
        if output is not None:
            paths[name] = output.expanduser().absolute()
        elif method.path:
            paths[name] = (node.source.folder / Path(method.path).expanduser()).absolute()
        else:
            found.append(Problem("The save has no path.", at=node.at, node=name, fix="add `path: out/NAME`, or -o DIR"))
    return paths


def _overlaps(resolved: Resolved, paths: Mapping[str, Path]) -> Iterator[Problem]:
    """Outputs that would touch an input, or each other."""
    inputs = {
        (checkpoint.folder if checkpoint.is_folder else Path(checkpoint.files[0].path)).resolve(): node.node
        for node in resolved.nodes.values()
        if (checkpoint := node.checkpoint) is not None
    }
    taken: dict[Path, str] = {}
    for name, path in paths.items():
        at = resolved.nodes[name].node.source.where(("path",))
        real = path.resolve()
        overlaps = [_overlap(name, path, real, folder, load, at) for folder, load in inputs.items()]
        yield from (problem for problem in overlaps if problem is not None)
        if real in taken:
            yield Problem(f'Two saves write to {path}: "{taken[real]}" and "{name}".', at=at, node=name,
                          fix="give one of them another `path:`")  # fmt: skip
        taken[real] = name


def _overlap(save: str, path: Path, real: Path, folder: Path, load: GraphNode, at: Location) -> Problem | None:
    """What is wrong with writing to `real` (`path` as given) while `load` reads from `folder`."""
    if real == folder or folder in real.parents:
        fact = f'The output {"is" if real == folder else "lies inside"} an input: "{load.name}".'
        why, fix = f"{path} and {folder}", "choose a path outside the models that are merged"
    elif real in folder.parents:
        fact = f'The output would replace a folder that holds an input: "{load.name}".'
        why, fix = f"{path} holds {folder}", "choose a path that holds no model"
    else:
        return None
    return Problem(fact, at=at, node=save, why=why, fix=fix)


def _output(resolved: Resolved, save: GraphNode, path: Path, table: Mapping[str, Expr], found: list[Problem]) -> Output:
    method = save.method
    assert isinstance(method, Save)
    wanted = by_name(method.dtype) if method.dtype else None
    kinds = resolved.nodes[save.name].tensors
    trunk = resolved.trunk_load(save.name).tensors
    dtypes = {name: _dtype(kind.dtype, trunk.get(name, kind).dtype, wanted) for name, kind in kinds.items()}
    specs = [TensorSpec(name, dtypes[name], kind.shape) for name, kind in kinds.items()]
    space = save.space
    layout = lay_out(specs, method.max_shard_bytes, {"mergegraph.space": "delta"} if space == "delta" else {})
    tensors = tuple(_output_tensor(name, dtypes[name], kinds[name].shape, table[name]) for name in layout.file_of)
    floats = [dtype for dtype in dtypes.values() if dtype.is_float]
    computed_by = resolved.nodes[save.inputs[0]].node.written_as
    return Output(
        save.name, computed_by, save.at, path, space, tensors, layout, sidecars(resolved, save, floats, found)
    )


def _dtype(stored: DType, trunk: DType, wanted: DType | None) -> DType:
    """The dtype of an output tensor: only floating tensors change theirs."""
    if not stored.is_float:
        return stored
    return wanted or (trunk if trunk.is_float else stored)


def _output_tensor(name: str, dtype: DType, shape: tuple[int, ...], expr: Expr) -> OutputTensor:
    root = cast(expr, dtype.code) if dtype.is_float else expr
    return OutputTensor(name, dtype, shape, root, reads(root))


def _unread(resolved: Resolved, inputs: Sequence[InputFile]) -> tuple[str, ...]:
    """The load nodes none of whose files is read."""
    read_paths = {file.path for file in inputs}
    return tuple(
        name
        for name, node in resolved.nodes.items()
        if node.checkpoint is not None and not any(file.path in read_paths for file in node.checkpoint.files)
    )


def _input_files(
    resolved: Resolved, outputs: Sequence[Output], comparisons: Sequence[Comparison]
) -> tuple[InputFile, ...]:
    """The files that are read, with the identities their headers were read under."""
    files: dict[str, InputFile] = {}
    for name, node in resolved.nodes.items():
        for file in node.checkpoint.files if node.checkpoint is not None else ():
            files.setdefault(file.path, InputFile(name, file.path, file.file_bytes, file.identity))
    needed = dict.fromkeys(read.path for output in outputs for tensor in output.tensors for read in tensor.reads)
    needed |= dict.fromkeys(read.path for each in comparisons for read in (each.kept, each.other))
    return tuple(files[path] for path in sorted(needed))
