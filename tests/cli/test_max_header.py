"""`--max-header-mb` on every command that opens models, and the budget that bounds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.cli import main
from tests.cli.tiny_models import write_blend


def lengthen(path: Path, header_bytes: int) -> None:
    """The same file with spaces behind its header."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].ljust(header_bytes)
    path.write_bytes(header_bytes.to_bytes(8, "little") + header + raw[8 + length :])


@pytest.fixture
def blend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, one of whose models has a header of 25 million bytes and one."""
    recipe = write_blend(tmp_path)
    lengthen(tmp_path / "code" / "model.safetensors", 25_000_001)
    monkeypatch.chdir(tmp_path)
    return recipe


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_longer_header_is_read_where_that_is_asked_for(
    blend: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "blend.yaml"]) == 2
    refusal = capsys.readouterr().err
    assert "a header of 25,000,001 bytes; at most 25,000,000 are read" in refusal
    assert "--max-header-mb 26" in refusal
    assert not (blend.parent / "out.partial").exists()
    assert main([command, "blend.yaml", "--max-header-mb", "26"]) == 0


def test_the_drawing_reads_a_longer_header_too(blend: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = (blend.parent / "code" / "model.safetensors").read_bytes()
    delta = raw[8:25_000_009].rstrip()[:-1] + b',"__metadata__":{"mergegraph.space":"delta"}}'
    content = len(delta).to_bytes(8, "little") + delta + raw[25_000_009:]
    (blend.parent / "code" / "model.safetensors").write_bytes(content)
    lengthen(blend.parent / "code" / "model.safetensors", 25_000_001)
    blend.write_text("mergegraph: 1\nnodes:\n  d: {op: load, model: ./code}\n  out: {op: save, input: d, path: o, "
                     "format: delta}\n")  # fmt: skip
    assert main(["graph", "blend.yaml"]) == 2
    assert main(["graph", "blend.yaml", "--max-header-mb", "26"]) == 0
    assert "delta" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_budget_without_room_for_the_header_refuses_it(
    blend: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "blend.yaml", "--max-header-mb", "26", "--budget", "100MB"]) == 2
    refusal = capsys.readouterr().err
    assert "at most 4,000,000 are read" in refusal
    assert "--max-header-mb 26, with a --budget of 650MB or more" in refusal
    assert main([command, "blend.yaml", "--max-header-mb", "26", "--budget", "650MB"]) == 0


@pytest.mark.parametrize("megabytes", ["0", "101", "-1", "much"])
def test_the_option_ends_where_the_format_does(blend: Path, megabytes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "blend.yaml", "--max-header-mb", megabytes]) == 2
    assert "--max-header-mb" in capsys.readouterr().err
