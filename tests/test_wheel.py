"""The wheel that is built from the tree: what it installs, under which licence, and what it starts."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = {"mergegraph": REPOSITORY / "mergegraph", "mergegraph_tui": REPOSITORY / "tui" / "mergegraph_tui"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (found,) = [each for each in wheel.namelist() if each.endswith(f".dist-info/{name}")]
    return wheel.read(found).decode()


def test_it_installs_two_packages_and_nothing_of_the_tests(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".yaml")
    }
    assert len(here) > 100
    assert names == here


def test_it_says_its_licence_and_what_it_starts(wheel: zipfile.ZipFile) -> None:
    described = HeaderParser().parsestr(metadata(wheel, "METADATA"))
    assert described["Name"] == "mergegraph"
    assert described["License-Expression"] == "Apache-2.0"
    assert metadata(wheel, "licenses/LICENSE") == (REPOSITORY / "LICENSE").read_text()
    points = configparser.ConfigParser()
    points.read_string(metadata(wheel, "entry_points.txt"))
    named = [target for section in points.sections() for target in points[section].values()]
    assert dict(points["console_scripts"]) == {"mergegraph": "mergegraph.cli:command"}
    for target in named:
        module, _, name = target.partition(":")
        code = f"import importlib; assert callable(importlib.import_module({module!r}).{name})"
        subprocess.run([sys.executable, "-c", code], check=True)
