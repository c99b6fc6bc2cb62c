"""The files beside the weights: which are copied, from which input, and what config.json says after the merge.

An allow-list of names: optimizer states, random states and training arguments never travel.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from mergegraph.dtypes import DType
from mergegraph.errors import Problem
from mergegraph.graph import GraphNode
from mergegraph.methods.save import Save
from mergegraph.plan.plan import Sidecars
from mergegraph.resolve import Resolved, ResolvedNode
from mergegraph.tensors.checkpoint import Checkpoint
from mergegraph.tensors.declared import front_matter
from mergegraph.tensors.links import end_of, leads_nowhere, leads_out_of, target_of
from mergegraph.tensors.sources.door import opened, read_bytes, read_range, read_text
from mergegraph.tensors.sources.hub_names import hub_ids
from mergegraph.tensors.sources.place import Place, RemotePath, file_bytes_of
from mergegraph.token_rows import moved_ids
from mergegraph.units import format_bytes

TOKENIZER_FILES = (
    "tokenizer*", "vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "spiece.model", "sentencepiece*.model", "chat_template*",
)  # fmt: skip
_TOKENS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece*.model")
"""One of these holds the tokens themselves: without any, a model has no tokenizer."""
MODEL_FILES = ("generation_config.json", "*processor*.json", "*.py", "model_index.json", "scheduler_config.json")
AnyPlace = TypeVar("AnyPlace", bound=Place)

_STRUCTURE = ("tie_word_embeddings", "vocab_size", "hidden_size", "num_hidden_layers")
"""Keys that speak of the weights, which are the trunk's whoever gives the other files."""
_COPIED_UP_TO = 256 << 20


def sidecars(resolved: Resolved, save: GraphNode, floats: Iterable[DType], found: list[Problem]) -> Sidecars:
    """What lies beside a save's weights; `floats` are the dtypes of its floating tensors."""
    method = save.method
    assert isinstance(method, Save)
    files_from = _chosen(resolved, save, "files_from", method.files_from, found) or resolved.trunk_load(save.name)
    tokenizer_from = _chosen(resolved, save, "tokenizer_from", method.tokenizer_from, found) or files_from
    assert files_from.checkpoint is not None
    assert tokenizer_from.checkpoint is not None
    copies = [
        *_listed(save, files_from.checkpoint, MODEL_FILES, found),
        *_listed(save, _tokenizer_of(resolved, tokenizer_from), TOKENIZER_FILES, found),
    ]
    written = dict(_written(files_from, tokenizer_from, dict(copies)))
    copies = [copy for copy in copies if copy[0] not in written]
    template = ""
    if method.chat_template is not None:
        template = str(save.source.folder / os.path.expanduser(method.chat_template))  # noqa: PTH111 - `~nobody` stays
        copies = [copy for copy in copies if not copy[0].startswith("chat_template")]
        found += _template_problems(save, Path(template))
    inputs = loads_of(resolved, save.name)
    found += _lacking(resolved, save, files_from, tokenizer_from, inputs)
    found += _disagreements(save, method, files_from, inputs)
    base_models = dict.fromkeys(hub_id for node in inputs if node.checkpoint and (hub_id := _hub_id(node.checkpoint)))
    licences = {str(_card(node.checkpoint).get("license", "")) for node in inputs if node.checkpoint is not None}
    found += _licence_problems(save, licences)
    config = repaired_config(_config(resolved, save, files_from.checkpoint), floats)
    licence = "" if len(licences) > 1 else licences.pop()
    return Sidecars(config, tuple(copies), template, tuple(base_models), licence, tuple(written.items()))


def _tokenizer_of(resolved: Resolved, node: ResolvedNode) -> Checkpoint:
    """The model whose tokenizer files a load node has: another's, where it has another's vocabulary."""
    source = resolved.nodes[node.aligned.tokenizer] if node.aligned is not None else node
    assert source.checkpoint is not None
    return source.checkpoint


def _written(
    files_from: ResolvedNode, tokenizer_from: ResolvedNode, copies: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Files that change with the vocabulary: a tokenizer that grew, and settings whose token ids moved."""
    if tokenizer_from.aligned is not None and tokenizer_from.aligned.tokenizer_json:
        yield "tokenizer.json", tokenizer_from.aligned.tokenizer_json
    settings = copies.get("generation_config.json")
    if files_from.aligned is not None and settings is not None:
        try:
            document: Any = json.loads(read_bytes(settings))
        except (OSError, ValueError, RecursionError):
            return
        if isinstance(document, dict):
            aligned = files_from.aligned
            moved = moved_ids(cast("dict[str, Any]", document), aligned.moved, aligned.lost)
            if moved != document:
                yield "generation_config.json", json.dumps(moved, indent=2, ensure_ascii=False) + "\n"


def loads_of(resolved: Resolved, name: str) -> list[ResolvedNode]:
    """The load nodes that a node is made from, in recipe order."""
    reached: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current not in reached:
            reached.add(current)
            pending += resolved.nodes[current].node.inputs
    order = {node_name: index for index, node_name in enumerate(resolved.graph.recipe.nodes)}
    loads = [resolved.nodes[each] for each in reached if resolved.nodes[each].checkpoint is not None]
    return sorted(loads, key=lambda node: order.get(node.node.name, len(order)))


def _config(resolved: Resolved, save: GraphNode, files_from: Checkpoint) -> dict[str, Any]:
    """The config of `files_from`, with what the merge changed in the trunk's: the layers of a stack, say."""
    merged, trunk = resolved.config(save.name), resolved.trunk_load(save.name).checkpoint
    assert trunk is not None
    if files_from is trunk:
        return merged
    changed = {key: value for key, value in merged.items() if key not in trunk.config or trunk.config[key] != value}
    structure = {key: trunk.config[key] for key in _STRUCTURE if key in trunk.config}
    return {**files_from.config, **structure, **changed}


def repaired_config(config: Mapping[str, Any], floats: Iterable[DType]) -> dict[str, Any]:
    """`config` with the dtype that most floating tensors of the output have, under the key it already uses."""
    repaired = dict(config)
    counts = Counter(floats)
    if counts and repaired:
        dtype = max(counts, key=counts.__getitem__).torch_name
        for key in [key for key in ("dtype", "torch_dtype") if key in repaired] or ["dtype"]:
            repaired[key] = dtype
    return repaired


def _chosen(
    resolved: Resolved, save: GraphNode, field: str, name: str | None, found: list[Problem]
) -> ResolvedNode | None:
    """The load node that `files_from` or `tokenizer_from` names."""
    if name is None:
        return None
    # The base of `model: base+adapter` is the node's own, under a longer name.
    for node in (resolved.nodes.get(name), resolved.nodes.get(f"{name}.base")):
        if node is not None and node.checkpoint is not None:
            return node
    loads = ", ".join(each.node.name for each in loads_of(resolved, save.name))
    fix = f"name one of the models that are merged: {loads}"
    found.append(Problem(f'`{field}: {name}` is not a load node of this merge.', at=save.source.where((field,)),
                         node=save.name, fix=fix))  # fmt: skip
    return None


def _listed(
    save: GraphNode, checkpoint: Checkpoint, patterns: Sequence[str], found: list[Problem]
) -> Iterator[tuple[str, str]]:
    """(name, path) of the files that match and can be copied; a single .safetensors file brings none along."""
    if not checkpoint.is_folder:
        return
    for path in matching_files(checkpoint.folder, patterns):
        left_out = not_copied(checkpoint.folder, path)
        if left_out is None:
            yield path.name, str(path)
        else:
            found.append(replace(left_out, at=save.at, node=save.name, model=checkpoint.reference))


def matching_files(folder: AnyPlace, patterns: Sequence[str]) -> list[AnyPlace]:
    """What in a folder has one of these names, in the order of names; it need be no file."""
    return [
        path
        for path in sorted(cast("Iterable[AnyPlace]", folder.iterdir()), key=lambda path: path.name)
        if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns)
    ]


def not_copied(folder: Place, path: Place) -> Problem | None:
    """The warning that `path` in a model's folder is not copied; None where it is one of its files, and not large."""
    why, fix = "", "put a copy of the file in its place"
    if isinstance(folder, RemotePath) or isinstance(path, RemotePath):
        if (file_bytes := file_bytes_of(path)) <= _COPIED_UP_TO:
            return None
        what, why = f"larger than {format_bytes(_COPIED_UP_TO)}", f"it has {format_bytes(file_bytes)}"
        fix = "copy it to the output yourself"
    elif leads_nowhere(path):
        what, why = "a link that leads nowhere", f"{path} {end_of(path)}"
    elif leads_out_of(folder, path):
        what = "a link to a file outside its model"
        why = f"{path} leads to {target_of(path)}, which may hold what was never meant to travel"
    elif not path.is_file():
        what, fix = "not a regular file", "put the file in its place, or remove it"
    elif (file_bytes := path.stat().st_size) > _COPIED_UP_TO:
        what, why = f"larger than {format_bytes(_COPIED_UP_TO)}", f"it has {format_bytes(file_bytes)}"
        fix = "copy it to the output yourself"
    else:
        return None
    return Problem(f"{path.name} is left out: it is {what}.", why=why, fix=fix, severity="warning")


def _template_problems(save: GraphNode, template: Path) -> Iterator[Problem]:
    if not template.is_file():
        yield Problem(
            f"The chat template {template} is not a file.",
            at=save.source.where(("chat_template",)),
            node=save.name,
            fix="give the path of a Jinja file, relative to the recipe",
        )


def _lacking(
    resolved: Resolved, save: GraphNode, files_from: ResolvedNode, tokenizer_from: ResolvedNode,
    inputs: Sequence[ResolvedNode],
) -> Iterator[Problem]:  # fmt: skip
    """What the output goes without, though another input has it: transformers loads neither model nor tokenizer so."""

    def has_tokenizer(node: ResolvedNode) -> bool:
        return _has_tokenizer(_tokenizer_of(resolved, node))

    for field, what, giver, has in (
        ("files_from", "config.json", files_from, _has_config),
        ("tokenizer_from", "tokenizer", tokenizer_from, has_tokenizer),
    ):
        other = next((node for node in inputs if has(node)), None)
        if other is not None and not has(giver):
            name = other.node.written_as
            # An expression on the command line has no fields.
            add = "write it as a recipe, whose save has" if save.at.file.startswith("-") else "add"
            yield Problem(
                f'"{giver.node.written_as}" has no {what}, so the output has none.',
                at=save.at, node=save.name, why=f'"{name}" has one', severity="warning",
                fix=f"{add} `{field}: {name}`",
            )  # fmt: skip


def _has_config(node: ResolvedNode) -> bool:
    return node.checkpoint is not None and bool(node.checkpoint.config)


def _has_tokenizer(checkpoint: Checkpoint) -> bool:
    return checkpoint.is_folder and bool(matching_files(checkpoint.folder, _TOKENS))


def _disagreements(
    save: GraphNode, method: Save, files_from: ResolvedNode, inputs: Sequence[ResolvedNode]
) -> Iterator[Problem]:
    """Inputs whose chat template or end-of-text ids differ from the files that are taken; nothing where the save says
    which to take."""
    if method.files_from is not None:
        return
    says_template = method.tokenizer_from is not None or method.chat_template is not None
    ours = files_from.checkpoint
    assert ours is not None
    for node in inputs:
        theirs = node.checkpoint
        if theirs is None or theirs is ours:
            continue
        if not says_template and _template_of(theirs) != _template_of(ours):
            yield _differs(save, files_from, node, "chat template")
        eos = [checkpoint.config.get("eos_token_id") for checkpoint in (ours, theirs)]
        if eos[0] != eos[1] and ours.config and theirs.config:
            yield _differs(save, files_from, node, f"eos_token_id ({eos[0]} and {eos[1]})")


def _differs(save: GraphNode, ours: ResolvedNode, theirs: ResolvedNode, what: str) -> Problem:
    names = f'"{ours.node.name}" and "{theirs.node.name}"'
    return Problem(
        f'{names} differ in their {what}; the output takes that of "{ours.node.name}".',
        at=save.at, node=save.name, severity="warning", fix=f"add `files_from: {theirs.node.name}` to take the other",
    )  # fmt: skip


def _licence_problems(save: GraphNode, licences: set[str]) -> Iterator[Problem]:
    """A licence is never guessed: it is kept where all cards name the same, "" being none."""
    if len(licences) > 1:
        shown = ", ".join(sorted(licence or "none" for licence in licences))
        yield Problem(
            "The inputs' model cards name different licences; the output's card names none.",
            at=save.at, node=save.name, why=shown, severity="warning",
            fix="read the licences, and add `license:` to the README.md of the output yourself",
        )  # fmt: skip


def _card(checkpoint: Checkpoint) -> dict[str, Any]:
    """The front matter of a model's card."""
    return front_matter(checkpoint.folder) if checkpoint.is_folder else {}


def _template_of(checkpoint: Checkpoint) -> object:
    """The chat template: a file of its own, or inside tokenizer_config.json; None where a model has none."""
    if not checkpoint.is_folder:
        return None
    try:
        path = checkpoint.folder / "chat_template.jinja"
        if path.is_file():
            return read_text(path)
        path = checkpoint.folder / "tokenizer_config.json"
        if not path.is_file():
            return None
        with opened(str(path)) as file:
            settings: Any = json.loads(read_range(file, 0, _COPIED_UP_TO))
        return settings.get("chat_template")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _hub_id(checkpoint: Checkpoint) -> str:
    """`org/name` where the model lies on the Hub or in its cache; only Hub ids may stand in a card's `base_model`."""
    return next(iter(hub_ids(checkpoint.folder)), "")
