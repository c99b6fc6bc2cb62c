"""Every way mergegraph refuses or fails, and how a person reads it.

    MergegraphError          carries one or more problems and an exit code
    ├── RecipeError      2   the recipe or the command line is wrong
    ├── InputError       2   a checkpoint is missing, damaged or does not fit the others
    ├── OutputError      2   the output cannot be put where it was asked for
    ├── DoesNotFit       3   memory or disk is too small for the plan
    ├── RunError         1   something failed while tensors were computed
    └── Interrupted    130   stopped by a person (130) or the system (75); the partial output is kept

A `Problem` says what, where, why, and what to type. Stages collect problems and raise them together.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Location:
    """A line in a file that a person wrote. `line` counts from 1; 0 is the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the fact, where it is, why it matters, and a fix that can be typed."""

    fact: str
    at: Location | None = None
    node: str = ""
    tensor: str = ""
    model: str = ""
    why: str = ""
    fix: str = ""
    severity: Literal["error", "warning"] = "error"

    @property
    def where(self) -> str:
        """`merge.yaml:14, node "avg", tensor lm_head.weight, model ./code`, as far as known."""
        parts = [
            str(self.at) if self.at else "",
            f'node "{self.node}"' if self.node else "",
            f"tensor {self.tensor}" if self.tensor else "",
            f"model {self.model}" if self.model else "",
        ]
        return ", ".join(part for part in parts if part)

    def located(self, at: Location | None, node: str = "") -> Problem:
        """The same problem with a place, where it had none."""
        return replace(self, at=self.at or at, node=self.node or node)

    def __str__(self) -> str:
        lines = [("warning: " if self.severity == "warning" else "") + on_one_line(self.fact)]
        for label, text in (("where", on_one_line(self.where)), ("why", self.why), ("fix", self.fix)):
            if text:
                first, *rest = text.split("\n")
                lines.append(f"  {label:<7} {first}")
                lines += [f"          {line}" for line in rest]
        return printable("\n".join(lines))


class MergegraphError(Exception):
    """The root. `problems` is never empty; `exit_code` is what the command returns."""

    exit_code: int = 1

    def __init__(self, *problems: Problem) -> None:
        assert problems, "an error needs a problem to show"
        super().__init__("\n\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type[MergegraphError], tuple[Problem, ...]]:
        return type(self), self.problems


class RecipeError(MergegraphError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class InputError(MergegraphError):
    """A checkpoint is missing, damaged, or does not fit the others."""

    exit_code = 2


class OutputError(MergegraphError):
    """The output cannot be put where it was asked for."""

    exit_code = 2


class DoesNotFit(MergegraphError):
    """The plan needs more memory or disk than there is."""

    exit_code = 3


class RunError(MergegraphError):
    """Something failed while tensors were computed or written."""


class Interrupted(MergegraphError):
    """Stopped from outside. `exit_code` is 130 for a person (SIGINT) and 75 for the system (SIGTERM)."""

    exit_code = 130

    def __init__(self, *problems: Problem, by_system: bool = False) -> None:
        super().__init__(*problems)
        self.exit_code = 75 if by_system else 130


class Unfit(ValueError):
    """A value that a field refuses, as it is told to pydantic. `fix` is what to type instead."""

    def __init__(self, fact: str, fix: str) -> None:
        super().__init__(fact)
        self.fix = fix


def raise_errors(problems: Iterable[Problem], error: type[MergegraphError]) -> tuple[Problem, ...]:
    """Raise `error` with every problem when one of them is an error; else hand back the warnings."""
    collected = tuple(problems)
    if any(problem.severity == "error" for problem in collected):
        raise error(*sorted(collected, key=lambda problem: problem.severity == "warning"))
    return collected


def did_you_mean(word: str, known: Iterable[str], what: str = "known") -> str:
    """`Did you mean slerp?`, else the list of what there is; for the `fix` of a misspelt name."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {on_one_line(close[0])}?"
    shown = ", ".join(map(on_one_line, names[:12])) + (f", and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{what}: {shown or 'none'}"


def problem_json(problem: Problem) -> dict[str, object]:
    """A problem's parts by name; `line` is 0 where only the file is known."""
    return {
        "fact": problem.fact,
        "where": problem.where,
        "file": problem.at.file if problem.at else "",
        "line": problem.at.line if problem.at else 0,
        "node": problem.node,
        "tensor": problem.tensor,
        "model": problem.model,
        "why": problem.why,
        "fix": problem.fix,
        "severity": problem.severity,
    }


def problem_from_json(said: Mapping[str, object]) -> Problem:
    """What `problem_json` wrote; "" for a part that is missing or no text."""

    def text(name: str) -> str:
        value = said.get(name, "")
        return value if isinstance(value, str) else ""

    line = said.get("line")
    at = Location(text("file"), line if isinstance(line, int) else 0) if text("file") else None
    return Problem(
        text("fact"), at, text("node"), text("tensor"), text("model"), text("why"), text("fix"),
        "warning" if said.get("severity") == "warning" else "error",
    )  # fmt: skip


def printable(text: str) -> str:
    """`text` with what a terminal would obey made visible: control characters, marks that turn the direction of
    writing, halves of characters. Names and strings come from files that anyone may have made."""
    if text.isprintable():
        return text
    return "".join([c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text])


def on_one_line(text: str) -> str:
    """`printable`, and nothing in it can begin a line of its own."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
