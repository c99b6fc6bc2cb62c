"""How a model is evaluated: a command, a Python function, or tasks of lm-eval; and the name of it all for the cache.

All three give numbers by name. What the hash of an evaluator covers: what is written here, but for its timeout, and
the content of the files it names.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mergegraph.errors import Location, Problem, did_you_mean
from mergegraph.fields import FieldModel
from mergegraph.recipe.document import Document
from mergegraph.search.ledger import LEDGER

PLACEHOLDERS = ("model", "result", "split", "python")
_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")
"""Other braces are what they are: a command may hold JSON."""
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


class LmEval(FieldModel):
    """Tasks of lm-eval (extra `eval`): a list, or a list for each split."""

    tasks: dict[str, tuple[str, ...]] | tuple[str, ...] = Field(description="task names, or task names by split")
    tasks_from: str | None = Field(
        default=None,
        description="a folder with tasks of your own, relative to the search; the others are not looked at",
    )
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
        yield from _program_problems(evaluator.command, document, folder)
    if evaluator.python is not None:
        yield from _function_problems(evaluator, document, folder)
    if evaluator.lm_eval is not None:
        yield from _task_problems(evaluator.lm_eval, splits, document)
        own = evaluator.lm_eval.tasks_from
        if own is not None and not (folder / own).is_dir():
            at, fix = document.where(("evaluator", "lm_eval", "tasks_from")), "correct the path"
            yield Problem(f"There is no folder {folder / own}.", at, fix=fix)
        if find_spec("lm_eval") is None:
            fact, fix = "This search needs lm-eval, which is not installed.", "pip install 'mergegraph[eval]'"
            yield Problem(fact, document.where(("evaluator", "lm_eval")), fix=fix)
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


def _program_problems(command: tuple[str, ...], document: Document, folder: Path) -> Iterator[Problem]:
    """A program that is not there, and a script that an interpreter is to run."""
    program, at = command[0], document.where(("evaluator", "command", 0))
    if not _PLACEHOLDER.search(program):
        place = str(folder / program) if os.sep in program else program
        if shutil.which(place) is None:
            fix = "correct the path; it is relative to the folder of the search, or on PATH"
            yield Problem(f"There is no program {program}.", at, fix=fix)
    script = command[1] if len(command) > 1 else ""
    is_script = script.endswith((".py", ".sh")) and not script.startswith("-") and not _PLACEHOLDER.search(script)
    if is_script and not (folder / script).is_file():
        fix = "correct the path; it is relative to the folder of the search"
        yield Problem(f"There is no file {script}.", document.where(("evaluator", "command", 1)), fix=fix)


def _function_problems(evaluator: Evaluator, document: Document, folder: Path) -> Iterator[Problem]:
    """A module that is not there, and a function that its text does not have. Nothing is imported."""
    assert evaluator.python is not None
    module, _, function = evaluator.python.partition(":")
    at, (is_there, file) = document.where(("evaluator", "python")), _module(evaluator, folder)
    if not is_there:
        why = f"neither {folder / evaluator.path} nor the installed packages have it"
        fix = "name its folder with `path:`, relative to the search"
        yield Problem(f"There is no Python module {module}.", at, why=why, fix=fix)
    elif file is not None and (defined := _defined_in(file)) is not None:
        if function not in defined:
            yield Problem(f"{module} has no {function}.", at, fix=did_you_mean(function, defined, "it has"))
        else:
            yield from _argument_problems(defined[function], evaluator, document)


def _argument_problems(statement: ast.stmt, evaluator: Evaluator, document: Document) -> Iterator[Problem]:
    """Arguments that the function does not take beside the model and the split."""
    if not isinstance(statement, ast.FunctionDef) or statement.args.kwarg is not None:
        return
    given = [argument.arg for argument in (*statement.args.posonlyargs, *statement.args.args)][2:]
    takes = [*given, *(argument.arg for argument in statement.args.kwonlyargs)]
    for name in evaluator.arguments:
        if name not in takes:
            fact, at = f"{statement.name} takes no {name}.", document.where(("evaluator", "arguments", name))
            yield Problem(fact, at, fix=did_you_mean(name, takes, "it takes") if takes else "leave it out")


def _defined_in(file: Path) -> Mapping[str, ast.stmt] | None:
    """The names that a module has at its top; None where that cannot be told from its text."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[statement.name] = statement
            case ast.Import() | ast.ImportFrom():
                found |= {(each.asname or each.name).partition(".")[0]: statement for each in statement.names}
            case ast.Assign():
                found |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
            case ast.Expr():
                pass
            case ast.If() if "__name__" in ast.dump(statement.test):
                pass  # what it does as a program
            case _:
                return None
    return None if "*" in found or "__getattr__" in found else found


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


def _module(evaluator: Evaluator, folder: Path) -> tuple[bool, Path | None]:
    """Whether there is such a module, and its file where it has one; it is not imported, nor is its package."""
    assert evaluator.python is not None
    top, *below = evaluator.python.partition(":")[0].split(".")
    roots = [folder / evaluator.path]
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.submodule_search_locations:
        roots += [Path(place).parent for place in found.submodule_search_locations]
    for root in roots:
        place = root.joinpath(top, *below)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return True, file
    if found is None or (below and found.submodule_search_locations):
        return False, None
    # A module of one file, or none: a name below it can only be told by importing it.
    origin = Path(found.origin) if found.origin and not below else None
    return True, origin if origin is not None and origin.suffix == ".py" and origin.is_file() else None


def fingerprint(evaluator: Evaluator, folder: Path) -> str:
    """The hash that stands for the evaluator in the cache."""
    digest = hashlib.sha256(json.dumps(evaluator.spec(), sort_keys=True).encode())
    for file in sorted({path.resolve() for path in _files(evaluator, folder)}):
        digest.update(f"\0{file.name}\0".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _files(evaluator: Evaluator, folder: Path) -> Iterator[Path]:
    for pattern in evaluator.files:
        yield from _matches(folder, pattern)
    for word in evaluator.command or ():
        for part in (word, word.partition("=")[2]):
            if part and not _PLACEHOLDER.search(part) and _is_file(folder / part):
                yield folder / part
    if evaluator.python is not None and (file := _module(evaluator, folder)[1]) is not None:
        yield file
    if evaluator.lm_eval is not None and evaluator.lm_eval.tasks_from is not None:
        yield from _matches(folder / evaluator.lm_eval.tasks_from, "**/*")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _matches(folder: Path, pattern: str) -> list[Path]:
    anchor = Path(pattern).anchor
    root = Path(anchor) if anchor else folder
    try:
        hits = [path for path in root.glob(pattern[len(anchor) :]) if path.is_file()]
    except (ValueError, NotImplementedError):
        return []
    # What a search writes is no part of what its numbers depend on.
    own = {folder for folder in {parent for path in hits for parent in path.parents} if (folder / LEDGER).is_file()}
    return [path for path in hits if not own.intersection(path.parents)]


def filled(command: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """The argument list, with every placeholder replaced."""
    return [_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in command]
