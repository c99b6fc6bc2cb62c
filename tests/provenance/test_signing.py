"""The OpenSSF model-signing tool signs an output and finds a changed byte, with the commands of docs/provenance.md."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.execute.merging import merged, planned
from tests.provenance.outputs import NODES, flip, write_inputs

TOOLS = ("model_signing", "openssl")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "provenance.md"
SIGNING = "    openssl ecparam"


def commands() -> list[list[str]]:
    """Two that make keys, one that signs, one that verifies; they speak of `out` in the current folder."""
    lines = DOCUMENT.read_text().split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith(SIGNING))
    return [line.split() for line in lines[first : first + 4]]


def succeeds(command: list[str], folder: Path) -> bool:
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def test_the_document_says_how_to_sign() -> None:
    assert [command[0] for command in commands()] == ["openssl", "openssl", "model_signing", "model_signing"]


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS),
    reason="needs openssl and `pip install model-signing pyopenssl`, which nothing else here does",
)
def test_a_signed_output_verifies_until_a_byte_changes(tmp_path: Path) -> None:
    merged(planned(write_inputs(tmp_path), NODES), verify_output=True)
    *preparing, verifying = commands()
    assert [succeeds(command, tmp_path) for command in preparing] == [True, True, True]
    assert succeeds(verifying, tmp_path)
    for file in sorted((tmp_path / "out").iterdir()):
        flip(file, 40)
        assert not succeeds(verifying, tmp_path), file.name
        flip(file, 40)
    assert succeeds(verifying, tmp_path)
