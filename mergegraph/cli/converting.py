"""`convert`: a pickled checkpoint is written as a safetensors folder. Never imports torch: a child process does."""

from __future__ import annotations

from pathlib import Path

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.terminal import say
from mergegraph.converting.convert import convert
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.units import format_bytes, format_count


def show_converted(source: Path, output: Path | None, *, key: str | None, dtype: str, overwrite: bool) -> None:
    """Convert, unless that is done already; then say what stands where. Warnings on stderr."""
    if dtype != "keep":
        fix = "leave --dtype out, and give the save node of a recipe a `dtype:`"
        raise RecipeError(Problem("Converting keeps every dtype.", Location(f"--dtype {dtype}"), fix=fix))
    done = convert(source, output, key=key, overwrite=overwrite)
    show_warnings(done.warnings)
    complete = ", complete before this run" if done.already_done else ""
    say(f"{source} -> {done.path}  {format_bytes(done.file_bytes)} in {format_count(done.files, 'file')}{complete}")
    if done.already_done:
        say("  nothing to do")
        return
    resumed = f", {done.resumed:,} of them found done" if done.resumed else ""
    say(f"  {format_count(done.tensors, 'tensor')}, bit for bit{resumed}")
