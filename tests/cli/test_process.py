"""The command as a process of its own: what is registered for its end runs, what it wrote is out, torch is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ATEXIT = """
import atexit, sys, threading, time
from mergegraph import cli
def last(): print("registered")
atexit.register(last)
ended = threading.Event()
def slow():
    ended.wait()
    time.sleep(0.2)
    print("thread")
threading.Thread(target=slow).start()
def main(run=cli.main):
    try:
        return run()
    finally:
        ended.set()
cli.main = main
sys.argv = ["mergegraph", *{arguments!r}]
cli.command()
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["run", "nowhere.yaml"], 2), (["rnu"], 2)])
def test_a_command_ends_as_a_process_does(arguments: list[str], code: int) -> None:
    """Threads are waited for, then what `atexit` has runs, and its output is written though nothing is taken apart."""
    ended = python(ATEXIT.format(arguments=arguments))
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.splitlines()[-2:] == ["thread", "registered"]


def test_output_that_no_disk_takes_is_no_success(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code = "import sys; sys.argv = ['mergegraph', '--help']; from mergegraph.cli import command; command()"
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert ended.returncode == 1
    assert "could not be written" in ended.stderr


LIGHT = """
import sys
from mergegraph.cli.lean import lighten_torch
lighten_torch()
import torch
rules = sys.modules["torch._meta_registrations"]
print(type(rules).__name__)
shape = torch.empty(3, 4, device="meta").matmul(torch.empty(4, 5, device="meta")).shape
print(tuple(shape))
print(callable(rules.meta_mm), type(sys.modules["torch._meta_registrations"]).__name__)
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    print(tuple(torch.nn.functional.conv2d(torch.empty(1, 3, 8, 8), torch.empty(2, 3, 3, 3)).shape))
"""


def test_what_is_left_out_of_torch_is_there_for_who_asks() -> None:
    ended = python(LIGHT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["_Later", "(3, 5)", "True module", "(1, 2, 6, 6)"]


def test_torch_stays_whole_where_other_packages_bring_methods() -> None:
    """They may use anything of it."""
    ended = python(
        "import importlib.metadata as m, sys\n"
        "m.entry_points = lambda **wanted: ['one']\n"
        "from mergegraph.cli.lean import lighten_torch\nlighten_torch()\n"
        "print('torch._meta_registrations' in sys.modules)"
    )
    assert ended.stdout == "False\n", ended.stderr
