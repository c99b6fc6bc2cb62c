"""The interface refuses to start without a terminal, and ends when it loses its own; what is not saved is kept."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from mergegraph_tui.model.autosave import recoverable
from mergegraph_tui.terminal import HUNG_UP

RECIPE = "mergegraph: 1\nmodels: {base: ./base}\nnodes:\n  out: {op: save, input: base, path: out}\n"
COMMAND = (sys.executable, "-m", "mergegraph", "tui")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TERM", "xterm-256color")
    path = tmp_path / "merge.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize(
    "at_terminal", [(), (0,), (0, 1), (1, 2)], ids=["none", "input", "no error output", "no input"]
)
def test_without_a_terminal_it_says_so_and_ends(at_terminal: tuple[int, ...], recipe: Path) -> None:
    master, slave = pty.openpty()
    elsewhere = os.open(os.devnull, os.O_RDWR)
    said = recipe.with_name("said")
    with said.open("wb") as file:
        streams = [slave if each in at_terminal else elsewhere if each < 2 else file.fileno() for each in range(3)]
        run = subprocess.run(
            [*COMMAND, str(recipe)], stdin=streams[0], stdout=streams[1], stderr=streams[2], timeout=30, check=False
        )
    os.close(elsewhere)
    os.close(slave)
    shown = said.read_bytes() + (os.read(master, 1 << 16) if 2 in at_terminal else b"")
    os.close(master)
    assert run.returncode == 2
    assert b"The interface needs a terminal." in shown
    assert b"mergegraph run RECIPE" in shown
    assert b"\x1b[?1049h" not in shown, "nothing was painted"


@pytest.mark.parametrize("tell", [False, True], ids=["the line is cut", "SIGHUP comes first"])
def test_when_the_terminal_goes_it_ends_and_keeps_what_is_not_saved(tell: bool, recipe: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    child = subprocess.Popen(
        [*COMMAND, str(recipe)], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )  # fmt: skip
    os.close(slave)
    try:
        read_until(master, b"F4 Stats")
        os.write(master, b"A")
        read_until(master, b"Add a node")
        os.write(master, b"negate\r")
        read_until(master, "●".encode())
        if tell:
            child.send_signal(signal.SIGHUP)
        os.close(master)
        assert child.wait(20) == HUNG_UP
    finally:
        child.kill()
        child.wait()
    (kept,) = recoverable(recipe)
    assert "negate: {op: negate}" in kept.text
    assert recipe.read_text() == RECIPE


def read_until(terminal: int, wanted: bytes, seconds: float = 20.0) -> None:
    until, shown = time.monotonic() + seconds, b""
    while wanted not in shown:
        assert time.monotonic() < until, shown.decode(errors="replace")
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 1 << 16)
