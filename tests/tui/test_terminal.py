"""A new user in a real terminal: from nothing to a merge, away in the middle of it and back, with real keys and mouse.

tmux is the terminal. The engine and the checkpoints are real; only a gate holds the run so that it is still alive.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mergegraph_tui.model import runs
from safetensors.torch import load_file

from tests.runs.children import LLAMAS, PATHS, PYTHON, REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux, which is the terminal of this test, is not there"),
]

GATED = f'#!/bin/sh\nshift 3\nexec {PYTHON} -P {REPOSITORY}/tests/runs/gated.py "$@"\n'
COMMAND = """import sys
from mergegraph_tui.model import runs
runs.sys.executable = {gated!r}
from mergegraph.cli import command
command()
"""
MOST_KEYS, PRESSED = 25, 19


class Terminal:
    """A shell in tmux, 120 by 40. `pressed`: keys so far; of what is typed all counts but names.

    Each opening has a server of its own, in a folder whose name is short: a socket's may have 104 characters."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sockets = folder, tempfile.TemporaryDirectory(prefix="tmux")
        self.opened = self.pressed = 0
        self.open()

    def tmux(self, *arguments: str) -> str:
        said = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", f"{self.sockets.name}/{self.opened}", *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return said.stdout

    def open(self) -> None:
        self.opened += 1
        shell = "env -u COLUMNS -u LINES TERM=tmux-256color COLORTERM=truecolor sh"
        self.tmux("new-session", "-d", "-x", "120", "-y", "40", "-c", str(self.folder), shell)

    def close(self) -> None:
        """As a window is closed: everything in it is hung up."""
        self.tmux("kill-server")

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def see(self, *texts: str, gone: str = "", seconds: float = 30.0) -> str:
        """Until all of these are to be seen, and `gone` no more. The screen."""
        until = time.monotonic() + seconds
        while True:
            shown = self.screen()
            if all(text in shown for text in texts) and (not gone or gone not in shown):
                return shown
            assert time.monotonic() < until, f"never saw {texts} without {gone!r}:\n{shown}"
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        self.pressed += len(keys)
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Letters of names are free, the rest of a formula is not."""
        self.pressed += len(re.sub(r"[A-Za-z_][\w./-]*", "", text).replace(" ", ""))
        self.tmux("send-keys", "-l", text)

    def command(self, words: str) -> None:
        self.tmux("send-keys", "-l", words)
        self.tmux("send-keys", "Enter")

    def mouse(self, code: int, at: tuple[int, int], end: str) -> None:
        self.tmux("send-keys", "-l", f"\x1b[<{code};{at[0] + 1};{at[1] + 1}{end}")

    def click(self, at: tuple[int, int]) -> None:
        self.mouse(0, at, "M")
        self.mouse(0, at, "m")

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        self.mouse(0, start, "M")
        self.mouse(32, end, "M")
        self.mouse(0, end, "m")

    def place(self, text: str) -> tuple[int, int]:
        """Column and row of a text that is to be seen."""
        rows = self.see(text).splitlines()
        row = next(row for row, line in enumerate(rows) if text in line)
        return rows[row].index(text), row


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    (tmp_path / "models").mkdir()
    for name in ("base", "python"):
        (tmp_path / "models" / name).symlink_to(LLAMAS / name)
    gated = tmp_path / "gated"
    gated.write_text(GATED)
    gated.chmod(0o755)
    command = tmp_path / "mergegraph"
    command.write_text(f'#!/bin/sh\nexec {PYTHON} {tmp_path}/command.py "$@"\n')
    command.chmod(0o755)
    (tmp_path / "command.py").write_text(COMMAND.format(gated=str(gated)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("OPEN_FOR", "20")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    shown = Terminal(tmp_path)
    yield shown
    (tmp_path / "gate").unlink(missing_ok=True)
    with suppress(subprocess.CalledProcessError):
        shown.close()
    shown.sockets.cleanup()
    for run in runs.living():
        runs.stop(run)


def test_from_an_empty_recipe_to_a_merge_that_outlives_its_terminal(terminal: Terminal) -> None:
    folder = terminal.folder
    (folder / "gate").touch()
    terminal.command("mergegraph tui")
    terminal.see("empty: a adds a model")

    build(terminal)
    assert terminal.pressed == PRESSED <= MOST_KEYS
    terminal.see("merging", "tensor")
    wait_for((folder / "reached").exists)

    terminal.close()
    (run,) = runs.living()
    terminal.open()
    terminal.command("mergegraph tui --attach")
    terminal.see("merge.yaml", "merging", "left")
    (folder / "gate").unlink()
    terminal.see("38 computed", "next  s statistics")
    wait_for(lambda: not run.is_alive())
    assert_merged(folder)

    terminal.press("s")
    terminal.see("no statistics of this recipe yet")
    terminal.press("r")
    terminal.see("relative change", "attention", "noise alone")

    text = (folder / "merge.yaml").read_text()
    terminal.press("F2")
    terminal.click(terminal.place("= merged"))
    terminal.see("= merged   expression")
    terminal.drag(terminal.place("▤ base  "), terminal.place("▣ out"))
    terminal.see('Node "merged" is not used by any save.', "merge.yaml ●")
    terminal.press("u")
    terminal.see("fine (4 nodes", gone="merge.yaml ●")
    terminal.press("C-q")
    terminal.see(gone="mergegraph  merge.yaml")
    wait_for(lambda: terminal.tmux("display", "-p", "#{pane_current_command}").strip() == "sh")
    assert (folder / "merge.yaml").read_text() == text


def build(terminal: Terminal) -> None:
    """base + 0.6 x (python - base), saved and started."""
    for name in ("base", "python"):
        add(terminal, "m", "Add a model", name, f"▶ ▤ {name}")
        terminal.see(f"▤ {name}")
    add(terminal, "a", "Add a node", "base+0.6*(python-base)", "a formula of these nodes")
    terminal.see("merged")
    add(terminal, "a", "Add a node after merged", "save", "▶ ▣ save")
    terminal.see("▣ out", "fine (4 nodes, 2 models, 38 tensors)")
    add(terminal, "C-s", "Save the recipe as", "merge.yaml", "merge.yaml")
    terminal.see("mergegraph  merge.yaml")
    terminal.press("p")
    terminal.see("Plan", "ready")
    terminal.press("Enter")
    terminal.see("merging", gone="ready")


def add(terminal: Terminal, key: str, title: str, typed: str, marked: str) -> None:
    """What a key asks for: typed, seen, taken."""
    terminal.press(key)
    terminal.see(title)
    terminal.type(typed)
    terminal.see(title, typed, marked)
    terminal.press("Enter")
    terminal.see(gone=title)


def assert_merged(folder: Path) -> None:
    """But for the last bit of a sum, which may be rounded twice here."""
    base, code, merged = (
        load_file(path / "model.safetensors") for path in (LLAMAS / "base", LLAMAS / "python", folder / "out" / "out")
    )
    assert merged.keys() == base.keys()
    for name, tensor in merged.items():
        wanted = base[name].double() + 0.6 * (code[name].double() - base[name].double())
        torch.testing.assert_close(tensor.double(), wanted, rtol=2**-7, atol=1e-6)


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)
