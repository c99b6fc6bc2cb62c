"""`mergegraph tui --web`: the interface in a browser of this machine, served by textual-serve, which is optional."""

from __future__ import annotations

import shlex
import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mergegraph.errors import OutputError, Problem
from mergegraph_tui.theme import ThemeName

HOST = "localhost"
PORT = 8000


def serve(recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: ThemeName | None) -> int:
    """Serve the interface until Ctrl-C. Only this machine can reach it: whoever does can edit files here."""
    if find_spec("textual_serve") is None:
        fix = 'pip install "mergegraph[web]"'
        raise OutputError(Problem("The interface in a browser needs the package textual-serve.", fix=fix))
    command = command_of(recipe, attach=attach, ascii_only=ascii_only, theme=theme)
    server: Any = import_module("textual_serve.server")
    server.Server(command, host=HOST, port=_free_port(), title="mergegraph").serve()
    return 0


def command_of(recipe: Path | None, *, attach: str | None, ascii_only: bool, theme: ThemeName | None) -> str:
    """What the server starts for each visitor."""
    options = [*(["--attach"] if attach is not None else []), *(["--ascii"] if ascii_only else [])]
    options += [f"--theme={theme}"] if theme else []
    shown = attach or (str(recipe) if recipe else "")
    return shlex.join([sys.executable, "-m", "mergegraph", "tui", *options, *(["--", shown] if shown else [])])


def _free_port() -> int:
    """PORT, or the next one that nobody has."""
    for port in range(PORT, PORT + 100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise OutputError(Problem(f"The ports {PORT} to {PORT + 99} are all in use.", fix="end one of the other servers"))
