"""The command line. What a command needs is imported when it runs: `--help` costs little more than Python itself.

app.py         which commands there are
commands/      the commands by subject: their options and help
shell.py       what a shell completes
options.py     option types, and option values that are checked by hand
source.py      a recipe file, or an expression, to a Recipe
reporting.py   errors to messages and exit codes; usage.py: a command line that cannot be read
making.py      `run`, once there is a plan: here, on a cluster (clustering.py), or one part of it (sharding.py)
parts.py       what is looked at before parts are made or put together
running.py     the plan is executed under a reporter
reporters.py   what a run says on its way: text, JSON lines, or nothing
progress.py    the bar on a terminal, and how fast a run is
watching.py    `watch`: a run of another process
checking.py    `check` and `plan`; simulating.py: `plan --workers`
drawing.py     `graph`: nodes folded and described; rail.py draws the wires
interface.py   `tui`
verifying.py   `verify`
info.py        `info`
stats.py       `stats`; what it shows is in stats_views.py, stats_maps.py, stats_tables.py, stats_tensor.py
importing.py   `import`
converting.py  `convert`
pushing.py     `push`
ops.py         `ops`: the operations; signature.py reads their fields
schema.py      `schema`: the JSON Schema of a recipe; search_schema.py: of a search; recipe_page.py: docs/recipe.md
searching.py   `search`: a search run, and its table on a terminal
demo.py        `demo`: recipes of the repository run and measured; demo_search.py: its searches
handbook.py    `ops --markdown`
trying.py      `try`: models go on with a text; completing.py asks transformers
terminal.py    writing to stdout and stderr
lean.py        torch without what no command uses
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

_SELDOM = 100_000
"""So many new objects between two looks of the cycle collector: its 700 cost 0.1 s of importing torch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default). Returns the exit code."""
    from mergegraph.cli import terminal

    terminal.open_closed_streams()
    terminal.lost.clear()
    from mergegraph.cli.app import app
    from mergegraph.cli.reporting import usage_error

    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed[:1] in (["--show-completion"], ["--install-completion"]) and len(typed) > 1:
        terminal.note(f"{typed[0]} takes no shell.\n  why     it is for the one that asks\n  fix     {typed[0]}")
        return 2
    try:
        code: object = app(args=arguments, prog_name="mergegraph", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except OSError as error:
        terminal.note(f"What was to be shown could not be written: {error.strerror}.")
        return 1
    except Exception as error:
        return usage_error(error, app)
    return code if isinstance(code, int) and code else int(bool(terminal.lost))


def command() -> NoReturn:
    """The command line as a process of its own. Ends without taking apart what torch and the plan have made, once
    threads have ended, what is registered with `atexit` has run and the streams are flushed: that takes 0.2 s, for what
    the kernel frees."""
    from mergegraph.cli.lean import lighten_torch

    gc.set_threshold(_SELDOM)
    lighten_torch()
    code = main()
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
