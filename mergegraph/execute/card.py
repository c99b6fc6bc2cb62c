"""What a finished output says of itself to people: the model card (README.md), and the files that go along."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import yaml

from mergegraph.errors import Problem, RunError, on_one_line, printable
from mergegraph.plan.plan import InputFile, Output, Plan
from mergegraph.tensors.sources.door import read_bytes
from mergegraph.tensors.sources.location import name_of
from mergegraph.walking import populations, reads


def engine_version() -> str:
    """The version of the engine, as installed."""
    return version("mergegraph")


def sidecar_contents(plan: Plan, output: Output) -> Iterable[tuple[str, bytes]]:
    """(name, content) of every file beside the weights but the records, which need the checksums."""
    yield from copied_files(output)
    if output.sidecars.config:
        yield "config.json", (json.dumps(output.sidecars.config, indent=2, ensure_ascii=False) + "\n").encode()
    yield "README.md", model_card(plan, output).encode()


def copied_files(output: Output) -> Iterable[tuple[str, bytes]]:
    """(name, content) of the files that are taken over as they are: tokenizer, chat template, generation config."""
    yield from ((name, text.encode()) for name, text in output.sidecars.written)
    sources = [*output.sidecars.copies]
    if output.sidecars.chat_template:
        sources.append(("chat_template.jinja", output.sidecars.chat_template))
    for name, source in sources:
        try:
            yield name, read_bytes(source)
        except OSError as error:
            fix = "put it back, or plan again without it"
            raise RunError(
                Problem(f"{source} cannot be read: {error.strerror}.", at=output.at, node=output.node, fix=fix)
            ) from error


def model_card(plan: Plan, output: Output) -> str:
    """Front matter for the Hub, then the recipe. Only Hub ids stand in `base_model`; the licence is never guessed."""
    is_adapter = output.layout.index_name.startswith("adapter_model.")
    library, relation = ("peft", "adapter") if is_adapter else ("transformers", "merge")
    matter: dict[str, Any] = {"library_name": library, "tags": ["merge", "mergegraph"]}
    if output.sidecars.base_models:
        matter |= {"base_model": list(output.sidecars.base_models), "base_model_relation": relation}
    if output.sidecars.licence:
        matter["license"] = output.sidecars.licence
    name = on_one_line(plan.name or name_of(output.place))
    recipe = printable(plan.recipe_text.rstrip())
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", recipe)), default=0))
    models = "\n".join(
        f"- `{on_one_line(label)}`" for label in dict.fromkeys(file.label for file in read_by(plan, output))
    )
    kind = "a LoRA adapter" if is_adapter else "a delta (task vector)" if output.space == "delta" else "a model"
    return (
        f"---\n{yaml.safe_dump(matter, sort_keys=True)}---\n\n# {name}\n\n"
        f"This is {kind} merged with mergegraph {engine_version()} from\n\n{models}\n\n"
        f"by this recipe:\n\n{fence}yaml\n{recipe}\n{fence}\n"
    )


def read_by(plan: Plan, output: Output) -> list[InputFile]:
    """The input files that this output is made from; a plan may have others, for its other outputs."""
    over_models = populations(*{stat for tensor in output.tensors for stat in tensor.shared})
    members = [expr for stat in over_models if stat.population is not None for expr, _ in stat.population.members]
    needed = [*reads(*members), *(read for tensor in output.tensors for read in tensor.reads)]
    paths = {path for read in needed for path in read.paths}
    return [file for file in plan.inputs if file.path in paths]
