"""The command where something around it is odd: its folder, its locale, its memory, its disk."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
import typer

from mergegraph.cli import main
from mergegraph.cli.reporting import reporting
from tests.cli.tiny_models import write_blend


@pytest.mark.parametrize("arguments", [["demo"], ["stats", "x"], ["run", "x.yaml"], ["verify", "x"], ["graph", "x"]])
def test_a_working_folder_that_was_removed_is_told_of(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("The folder that this was started in is gone.\n  fix     cd ")


@pytest.mark.parametrize("more", [[], ["--rail"]], ids=["boxes", "rail"])
def test_a_graph_is_drawn_in_ascii_where_the_locale_has_no_more(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_blend(tmp_path)
    drawn = []
    for encoding in ("ascii", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", stream)
        assert main(["graph", str(recipe), *more]) == 0
        drawn.append(stream.buffer.getvalue().decode())  # pyright: ignore[reportAttributeAccessIssue]
    assert "?" not in drawn[0]
    assert drawn[0].isascii()
    assert not drawn[1].isascii()


@pytest.mark.parametrize(
    ("error", "exit_code", "says"),
    [
        pytest.param(ImportError("libtorch_cpu.so: failed to map segment from shared object"), 3, "ulimit -v",
                     id="too little memory for torch"),
        pytest.param(ImportError("No module named 'torch'"), 1, "This is a bug", id="another import"),
        pytest.param(OSError(errno.ENAMETOOLONG, "too long", "a" * 300), 2, "a shorter path", id="a long name"),
        pytest.param(OSError(errno.EROFS, "Read-only file system", "/x"), 1, "another place", id="a disk to read from"),
        pytest.param(OSError(errno.EMFILE, "Too many open files", "/x"), 1, "ulimit -n", id="too many files"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_has_a_fix(
    error: Exception, exit_code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, reporting():
        raise error
    assert ended.value.exit_code == exit_code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("path", [".", "/", "", ".."])
@pytest.mark.parametrize("command", ["verify", "watch", "push"])
def test_a_folder_without_a_name_of_its_own_is_no_output(
    command: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, path, *(["org/name"] if command == "push" else [])]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
