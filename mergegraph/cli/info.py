"""`info`: how an output was made, from its records; of any other model, what its headers say. Reads no weights, except
for a statement, which speaks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from mergegraph.cli.adapters import is_base_with_adapter, models_alone
from mergegraph.cli.checking import show_warnings
from mergegraph.cli.terminal import say, say_json, say_text
from mergegraph.cli.verifying import progress_line
from mergegraph.errors import OutputError, Problem, problem_json
from mergegraph.provenance.opening import OpenedOutput, is_output, is_unfinished, open_output
from mergegraph.provenance.record import AnyProvenance, Conversion, Provenance
from mergegraph.provenance.unfinished import recorded_tensors
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.sources.hub_names import looks_like_id
from mergegraph.tensors.sources.location import is_remote, restored
from mergegraph.units import format_bytes, format_count

_LABEL_WIDTH = 11
_SHOWN_NAMES = 3


def show_info(path: Path, *, max_header_bytes: int, as_json: bool) -> None:
    """OutputError or InputError when there is nothing to tell of."""
    if is_unfinished(path):
        _show(_unfinished(path), as_json)
    elif is_output(path):
        _show(_of_output(open_output(path)), as_json)
    elif path.exists():
        _show_model(str(path.absolute()) if looks_like_id(str(path)) else str(path), max_header_bytes, as_json)
    elif is_remote(reference := restored(str(path))) or looks_like_id(reference) or is_base_with_adapter(reference):
        _show_model(reference, max_header_bytes, as_json)
    else:
        open_output(path)


def _show_model(reference: str, max_header_bytes: int, as_json: bool) -> None:
    with models_alone():
        checkpoint = open_checkpoint(reference, Path.cwd(), max_header_bytes=max_header_bytes)
    if not as_json:
        show_warnings(checkpoint.warnings)
    _show(_of_model(checkpoint), as_json)


def show_statement(path: Path) -> None:
    """An in-toto statement about the files as they are. RunError when they are not as they were written: then nothing
    is stated."""
    from mergegraph.provenance.attest import attest

    if is_unfinished(path):
        raise OutputError(Problem(f"{path} is not finished.", fix="run the same command again to go on"))
    with progress_line() as tick:
        attested = attest(path, tick)
    show_warnings(attested.warnings)
    say_text(attested.statement.decode().rstrip("\n"))


def _show(found: tuple[dict[str, Any], list[tuple[str, str]]], as_json: bool) -> None:
    document, table = found
    if as_json:
        say_json({"kind": "info", **document})
        return
    for label, text in table:
        first, *rest = text.split("\n")
        say(f"{label:<{_LABEL_WIDTH}}{first}")
        for line in rest:
            say(f"{'':<{_LABEL_WIDTH}}{line}")


def _of_output(output: OpenedOutput) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    run = output.run
    document = {
        "path": str(output.path),
        "provenance": output.provenance.model_dump(mode="json"),
        "run": None if run is None else run.model_dump(mode="json"),
    }
    return document, list(_output_table(output))


def _output_table(output: OpenedOutput) -> Iterator[tuple[str, str]]:
    yield "output", str(output.path)
    if isinstance(output.provenance, Conversion):
        yield from _conversion(output.provenance)
    else:
        yield from _merge(output.provenance)
    yield from _run(output)


def _conversion(provenance: Conversion) -> Iterator[tuple[str, str]]:
    files = [f"{x.file}  {format_bytes(x.bytes)}  converted from pickle, sha256 {x.sha256}" for x in provenance.inputs]
    yield "inputs", "\n".join(files)
    if provenance.key is not None:
        yield "key", provenance.key
    yield "made by", _versions(provenance.versions)
    yield "tensors", f"{len(provenance.tensors):,}; {_stored(provenance)}"
    if provenance.tied:
        yield "tied", "\n".join(f"{name} is {embedding}" for name, embedding in provenance.tied.items())


def _merge(provenance: Provenance) -> Iterator[tuple[str, str]]:
    yield "recipe", f"{provenance.name or '(no name)'}  sha256 {provenance.recipe_sha256[:16]}…"
    yield "seed", str(provenance.seed)
    yield "inputs", "\n".join(_files(provenance))
    yield "made by", _versions(provenance.versions)
    yield "on", f"{provenance.device.kind} ({provenance.device.capability})"
    delta = ", a delta" if provenance.space == "delta" else ""
    yield "tensors", f"{len(provenance.tensors):,}{delta}; {_stored(provenance)}"
    yield "not finite", _odd(provenance, "nonfinite")
    if provenance.total("overflowed"):
        yield "overflowed", _odd(provenance, "overflowed")


def _run(output: OpenedOutput) -> Iterator[tuple[str, str]]:
    run = output.run
    if run is None:
        yield "when", "not known: mergegraph.run.json is gone"
        return
    resumed = f"; {run.tensors_resumed:,} tensors from an earlier run" if run.tensors_resumed else ""
    yield "when", f"{run.started} to {run.finished} on {run.host}{resumed}"
    verified = "read back from disk before it was published" if run.verified else "not when it was made"
    yield "verified", f"{verified}; `mergegraph verify` does it now"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _stored(provenance: AnyProvenance) -> str:
    stored = sum(each.bytes for each in provenance.weights)
    return f"{format_bytes(stored)} in {format_count(len(provenance.weights), 'file')}"


def _files(provenance: Provenance) -> Iterator[str]:
    """One line a model: `base  ./models/base  2.0 GiB in 1 file`."""
    models: dict[tuple[str, str], list[int]] = {}
    for each in provenance.inputs:
        models.setdefault((each.node, each.model), []).append(each.bytes)
    for (node, model), sizes in models.items():
        yield f"{node}  {model}  {format_bytes(sum(sizes))} in {format_count(len(sizes), 'file')}"


def _odd(provenance: Provenance, fact: Any) -> str:
    names = [name for name, tensor in provenance.tensors.items() if getattr(tensor, fact)]
    if not names:
        return "none"
    shown = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    return f"{format_count(provenance.total(fact), 'value')} in {format_count(len(names), 'tensor')}: {shown}"


def _unfinished(path: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    recorded = len(recorded_tensors(path))
    table = [
        ("output", str(path)),
        ("state", f"not finished; {format_count(recorded, 'tensor')} recorded. Run the same command again to go on."),
    ]
    return {"path": str(path), "finished": False, "tensors_recorded": recorded}, table


def _of_model(checkpoint: Checkpoint) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    tensors = list(checkpoint.tensors.values())
    dtypes = Counter(tensor.dtype.code for tensor in tensors)
    parameters = sum(tensor.element_count for tensor in tensors)
    kind = _architecture(checkpoint.config)
    stored = sum(file.file_bytes for file in checkpoint.files)
    document = {
        "path": checkpoint.reference,
        "space": checkpoint.space,
        "architecture": kind,
        "tensors": len(tensors),
        "parameters": parameters,
        "dtypes": dict(dtypes),
        "files": [{"file": Path(file.path).name, "bytes": file.file_bytes} for file in checkpoint.files],
        "warnings": [problem_json(problem) for problem in checkpoint.warnings],
    }
    table = [
        ("model", checkpoint.reference),
        ("holds", "a delta" if checkpoint.space == "delta" else "weights"),
        ("kind", kind or "not known: there is no config.json that says it"),
        ("tensors", ", ".join(f"{count:,} {code}" for code, count in dtypes.most_common())),
        ("parameters", f"{parameters:,}"),
        ("files", f"{format_bytes(stored)} in {format_count(len(checkpoint.files), 'file')}"),
        ("made by", "not known: there is no mergegraph.json"),
    ]
    return document, table


def _architecture(config: Mapping[str, Any]) -> str:
    """The class that loads it, else its family; empty where the config names neither."""
    listed: object = config.get("architectures")
    classes = cast("list[object]", listed) if isinstance(listed, list) else []
    return str(classes[0] if classes else config.get("model_type") or "")
