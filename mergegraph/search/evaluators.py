"""How a model is evaluated: a command, a Python function, or tasks of lm-eval; and the name of it all for the cache.

All three give numbers by name. What the hash of an evaluator covers: what is written here, but for its timeout, and
the content of the files it names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.fields import FieldModel
from mergegraph.recipe.document import Document

PLACEHOLDERS = ("model", "result", "split", "python")
_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")
"""Other braces are what they are: a command may hold JSON."""
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


class LmEval(FieldModel):
    """Tasks of lm-eval (extra `eval`): a list, or a list for each split."""

    tasks: dict[str, tuple[str, ...]] | tuple[str, ...] = Field(description="task names, or task names by split")
    limit: int | None = Field(default=None, ge=1, description="only the first so many examples of a task")
    few_shot: int = Field(default=0, ge=0, description="examples shown before each question")
    batch_size: int = Field(default=8, ge=1, description="questions at once")
    device: str = Field(default="cpu", description="where the model runs")

    def tasks_of(self, split: str) -> tuple[str, ...]:
        """The tasks of one split; () where there are none."""
        return self.tasks.get(split, ()) if isinstance(self.tasks, dict) else self.tasks


class Evaluator(FieldModel):
    """One of `command`, `python` and `lm_eval`, and what goes for each."""

    command: tuple[str, ...] | None = Field(default=None, description="a program and its arguments, without a shell")
    python: str | None = Field(default=None, description="MODULE:FUNCTION, called with the model and the split")
    lm_eval: LmEval | None = None
    takes: Literal["folder", "tensors"] = Field(
        default="folder", description="of python: what the function gets, a folder or a read-only mapping of tensors"
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="of python: further arguments by name"
    )
    path: str = Field(default=".", description="of python: the folder of the module, relative to the search")
    files: tuple[str, ...] = Field(
        default=(), description="files that the numbers depend on, as globs: a change of one evaluates again"
    )
    timeout_seconds: float = Field(default=3600.0, gt=0, description="an evaluation that takes longer is ended")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("command", "python", "lm_eval") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError("an evaluator has one of command, python and lm_eval")
        if self.command == ():
            raise ValueError("the command is empty")
        if self.python is not None and not _ENTRY_POINT.fullmatch(self.python):
            raise ValueError(f'"{self.python}" is not of the form MODULE:FUNCTION')
        if self.python is None and (self.takes == "tensors" or self.arguments):
            raise ValueError("takes and arguments go with python: MODULE:FUNCTION")
        return self

    def spec(self) -> dict[str, Any]:
        """What the worker is told."""
        return self.model_dump(mode="json", exclude={"files", "timeout_seconds"})


def problems(evaluator: Evaluator, splits: tuple[str, ...], document: Document, folder: Path) -> Iterator[Problem]:
    """What is wrong beyond the form: placeholders, files that are not there, one set of numbers for two splits."""
    at = document.where(("evaluator",))
    if evaluator.command is not None:
        yield from _command_problems(evaluator.command, splits, document)
    if evaluator.python is not None and module_file(evaluator, folder) is None:
        module = evaluator.python.partition(":")[0]
        why = f"neither {folder / evaluator.path} nor the installed packages have it"
        fix = "name its folder with `path:`, relative to the search"
        yield Problem(f"There is no Python module {module}.", document.where(("evaluator", "python")), why=why, fix=fix)
    if evaluator.lm_eval is not None:
        yield from _task_problems(evaluator.lm_eval, splits, document)
    for index, pattern in enumerate(evaluator.files):
        if not _matches(folder, pattern):
            where = document.where(("evaluator", "files", index))
            yield Problem(f'"{pattern}" matches no file.', where or at, why=f"in {folder}", fix="correct the pattern")


def _command_problems(command: tuple[str, ...], splits: tuple[str, ...], document: Document) -> Iterator[Problem]:
    used: set[str] = set()
    for index, word in enumerate(command):
        at = document.where(("evaluator", "command", index))
        for name in _PLACEHOLDER.findall(word):
            used.add(name)
            if name not in PLACEHOLDERS:
                fix = did_you_mean(name, PLACEHOLDERS, "placeholders")
                yield Problem(f'There is nothing to put in place of {{{name}}} in "{word}".', at, fix=fix)
    at = document.where(("evaluator", "command"))
    for name, use in (("model", "the folder to evaluate"), ("result", "the JSON file to write the numbers to")):
        if name not in used:
            fix = f'add "{{{name}}}" where the program takes it'
            yield Problem(f"The command has no {{{name}}}: it is not told {use}.", at, fix=fix)
    if len(splits) > 1 and "split" not in used:
        yield _same_numbers(splits, at, 'add "{split}" where the program takes it, or leave `report_on` out')


def _task_problems(tasks: LmEval, splits: tuple[str, ...], document: Document) -> Iterator[Problem]:
    at = document.where(("evaluator", "lm_eval", "tasks"))
    for split in splits:
        if not tasks.tasks_of(split):
            yield Problem(f'No task is named for the split "{split}".', at, fix=f"tasks: {{{split}: [TASK]}}")
    if len(splits) > 1 and not isinstance(tasks.tasks, dict):
        fix = f"write tasks: {{{splits[0]}: [TASK], {splits[1]}: [OTHER]}}, or leave `report_on` out"
        yield _same_numbers(splits, at, fix)


def _same_numbers(splits: tuple[str, ...], at: Location, fix: str) -> Problem:
    fact = f'The evaluator gives the same numbers for "{splits[0]}" and "{splits[1]}".'
    return Problem(fact, at, why="it is not told which split to evaluate", fix=fix)


def module_file(evaluator: Evaluator, folder: Path) -> Path | None:
    """The file of the module; it is not imported. None where there is none."""
    assert evaluator.python is not None
    name = evaluator.python.partition(":")[0]
    place = folder / evaluator.path / Path(*name.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    try:
        found = find_spec(name) if "." not in name else None
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found is not None and found.origin else None


def fingerprint(evaluator: Evaluator, folder: Path) -> str:
    """The hash that stands for the evaluator in the cache."""
    digest = hashlib.sha256(json.dumps(evaluator.spec(), sort_keys=True).encode())
    for file in sorted({path.resolve() for path in _files(evaluator, folder)}):
        digest.update(f"\0{file.name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(evaluator: Evaluator, folder: Path) -> Iterator[Path]:
    for pattern in evaluator.files:
        yield from _matches(folder, pattern)
    for word in evaluator.command or ():
        if not _PLACEHOLDER.search(word) and (folder / word).is_file() and not Path(word).is_absolute():
            yield folder / word
    if evaluator.python is not None and (file := module_file(evaluator, folder)) is not None:
        yield file


def _matches(folder: Path, pattern: str) -> list[Path]:
    anchor = Path(pattern).anchor
    root = Path(anchor) if anchor else folder
    try:
        return [path for path in root.glob(pattern[len(anchor) :]) if path.is_file()]
    except (ValueError, NotImplementedError):
        return []


def filled(command: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """The argument list, with every placeholder replaced."""
    return [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in command]
