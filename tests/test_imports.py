"""Which module may need which: the contracts of pyproject.toml hold, and planning starts no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.tiny_models import write_blend

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "mergegraph"
# These run a plan, or draw on a terminal while one runs.
RUNNING = (
    "mergegraph.execute", "mergegraph.cli.running", "mergegraph.cli.reporters", "mergegraph.cli.demo",
    "mergegraph.converting.unpickle", "mergegraph.search.tensors", "mergegraph.cluster", "mergegraph.cli.sharding",
    "mergegraph.cli.clustering", "mergegraph.cli.parts", "mergegraph.cli.making",
)  # fmt: skip


def modules() -> list[str]:
    paths = [path.relative_to(REPOSITORY).with_suffix("") for path in PACKAGE.rglob("*.py")]
    return sorted({".".join(path.parts).removesuffix(".__init__") for path in paths})


def python(code: str, *arguments: str, folder: Path = REPOSITORY) -> str:
    """What `code` prints in a process of its own, started in `folder`."""
    paths = [str(REPOSITORY), str(REPOSITORY / "tui"), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


LOADED = "print(*(name for name in sys.argv[1].split(',') if name in sys.modules))"


def test_the_import_contracts_hold() -> None:
    shown = python("from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))")
    assert " 0 broken" in shown


def test_nothing_but_the_run_imports_torch() -> None:
    names = [name for name in modules() if not name.startswith(RUNNING) and name != "mergegraph.__main__"]
    assert len(names) > 50
    code = f"import importlib, sys\nfor name in sys.argv[2].split(','): importlib.import_module(name)\n{LOADED}"
    assert python(code, "torch,textual,mergegraph_tui", ",".join(names)) == "\n"


def test_checking_and_planning_import_no_torch(tmp_path: Path) -> None:
    write_blend(tmp_path)
    commands = (
        "main(['check', 'blend.yaml']) or main(['plan', 'blend.yaml', '--explain']) or main(['graph', 'blend.yaml'])"
    )
    code = f"import sys\nfrom mergegraph.cli import main\nassert not ({commands})\n{LOADED}"
    *_, loaded = python(code, "torch,textual,rich", folder=tmp_path).split("\n")[:-1]
    assert loaded == ""


# typer 0.29 itself imports pydantic when it describes the options of a command.
@pytest.mark.parametrize(
    ("arguments", "also"), [("--help", ",pydantic"), ("--version", ",pydantic"), ("run --help", "")]
)
def test_help_imports_nothing_that_takes_time(arguments: str, also: str) -> None:
    code = f"import sys\nfrom mergegraph.cli import main\nassert main(sys.argv[2].split()) == 0\n{LOADED}"
    heavy = f"torch,textual,rich,yaml,numpy,networkx,mergegraph.methods{also}"
    assert python(code, heavy, arguments).split("\n")[-2] == ""


def test_using_a_verb_imports_what_it_needs_and_no_more() -> None:
    code = f"import sys, mergegraph\nassert 'pydantic' not in sys.modules\nmergegraph.load_recipe\n{LOADED}"
    assert python(code, "torch,networkx,mergegraph.builder") == "\n"


def test_no_module_is_a_drawer_for_everything() -> None:
    named = {Path(*name.split(".")).name for name in modules()}
    assert not named & {"utils", "util", "helpers", "helper", "common", "misc"}
