"""A command line that cannot be read, said as every other mistake is: what, where, and what to type instead.

Typer finds it, and raises exceptions of a command-line library inside it; they are told apart by what they carry.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from mergegraph.errors import Location, Problem, did_you_mean

_TAKES = {
    "int_parsing": ("a whole number", "1"),
    "float_parsing": ("a number", "1"),
    "greater_than_equal": ("{ge:g} or more", "{ge:g}"),
    "less_than_equal": ("{le:g} or less", "{le:g}"),
}
"""By pydantic's name for what is wrong with a value: what the option takes, and an example."""


def usage_problem(error: Any, commands: Mapping[str, Any]) -> Problem | None:
    """What is wrong with the command line that `error` is about; None for an exception that is not about one."""
    if not hasattr(error, "show"):
        return None
    context, message = getattr(error, "ctx", None), str(getattr(error, "message", ""))
    command = context.command_path if context is not None else "mergegraph"
    if wanted := getattr(error, "option_name", None):
        return _option(error, str(wanted), commands)
    if (refused := _refused(error)) is not None:
        return refused
    if type(error).__name__ == "MissingParameter":
        return _missing(error, command)
    if message.startswith("No such command"):
        typed = message.split("'")[1] if "'" in message else ""
        return Problem(f'There is no command "{typed}".', fix=did_you_mean(typed, commands, "commands"))
    if message.startswith("Got unexpected extra argument"):
        typed = message.partition(" (")[2].rstrip(")")
        fix = "leave it out; or put a name with blanks in quotes"
        return Problem(f'{command} has no place for "{typed}".', fix=f"{fix}; {command} --help")
    return Problem(f"{message.rstrip('.')}.", fix=f"{command} --help")


def _option(error: Any, option: str, commands: Mapping[str, Any]) -> Problem:
    """An option that a command has not, or that was given no value, or one too many."""
    if not hasattr(error, "possibilities"):
        metavars = [param.metavar for each in commands.values() for param in each.params if option in param.opts]
        if "requires" in str(error.message):
            return Problem(f"{option} needs a value.", fix=" ".join([option, *filter(None, metavars[:1])]))
        return Problem(f"{option} takes no value.", fix=option)
    command = error.ctx.command if error.ctx is not None else None
    path = error.ctx.command_path if error.ctx is not None else "mergegraph"
    known = [*_options(command), "--help"]
    having = [name for name, each in commands.items() if option in _options(each)]
    close = difflib.get_close_matches(option.lower(), known, n=1, cutoff=0.75)
    if having:
        fix = f"leave it out; {', '.join(having)} {'has' if len(having) == 1 else 'have'} it"
    else:
        fix = f"Did you mean {close[0]}?" if close else f"{path} --help lists them"
    return Problem(f'{path} has no option "{option}".', fix=fix)


def _options(command: Any) -> list[str]:
    return [name for param in (command.params if command is not None else ()) for name in param.opts]


def _refused(error: Any) -> Problem | None:
    """A value that is no number, or out of its range; None where the error is another."""
    found = getattr(error.__cause__, "errors", None)
    if found is None or getattr(error, "param", None) is None:
        return None
    first = found()[0]
    takes, example = _TAKES.get(first["type"], ("", ""))
    if not takes:
        return None
    option = max(error.param.opts, key=len)
    bounds = first.get("ctx", {})
    fact = f'{option} takes {takes.format(**bounds)}, not "{first["input"]}".'
    return Problem(fact, Location(f"{option} {first['input']}"), fix=f"{option} {example.format(**bounds)}")


def _missing(error: Any, command: str) -> Problem:
    """An argument that is not there; the fix is the first example that `--help` shows, else `--help`."""
    name = error.param.metavar or max(error.param.opts, key=len)
    shown = (line.strip() for line in str(error.ctx.command.epilog or "").splitlines())
    example = next((line for line in shown if line.startswith("mergegraph ")), f"{command} --help")
    return Problem(f"{command} needs {name}.", fix=example)
