"""What a terminal would obey never reaches it: names and strings of models and recipes are shown, not sent.

A name may move the cursor, clear the screen, set the title, turn the direction of writing, begin a line that looks
like ours, or speak the markup of what draws the bar.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from mergegraph.cli.progress import state_text
from mergegraph.errors import Location, Problem, on_one_line, printable
from mergegraph.execute.events import Progress
from tests.cli.tiny_models import write_model

HOSTILE = {
    "title": "\x1b]0;x\x07",
    "clear": "\x1b[2J",
    "return": "\rfine",
    "c1": "\x9b31m",
    "delete": "\x7f\x08",
    "turned": "\u202egnp",
    "isolate": "\u2067x",
    "invisible": "\u200bx\ufeff",
    "markup": "[red]x[/]",
    "closing": "[/]",
    "line": "x\n  fix     rm -rf ~",
    "tab": "x\ty",
    "next line": "x\x85\u2028y",
    "fence": "```",
}
IN_A_FOLDER = "".join(text for text in HOSTILE.values() if "/" not in text)
IN_A_TENSOR = {**HOSTILE, "nul": "x\x00y"}
IN_YAML = json.dumps("".join(HOSTILE.values()))
"""YAML reads the escapes of JSON."""


def shown_only(raw: str) -> bool:
    """Whether every character is one that a terminal draws, and no line looks like ours that is none."""
    obeyed = [c for c in raw if c not in "\n\t" and not c.isprintable()]
    assert not obeyed
    assert "\n  fix     rm" not in raw
    return True


def tensors(shift: float) -> dict[str, tuple[list[int], list[float]]]:
    return {f"layers.0.{text}.weight": ([8, 8], [i % 7 + shift for i in range(64)]) for text in IN_A_TENSOR.values()}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe whose name, file, folder, models, tensors and configurations are all hostile."""
    folder = tmp_path / IN_A_FOLDER
    said = "".join(HOSTILE.values())
    for name, shift in (("a", 0.0), ("b", 0.25)):
        config = {"eos_token_id": f"{name}{said}", "architectures": [said], said: said}
        write_model(folder / f"{name}{IN_A_FOLDER}", tensors(shift), **config)
        (folder / f"{name}{IN_A_FOLDER}" / "tokenizer_config.json").write_text(json.dumps({"chat_template": name}))
        (folder / f"{name}{IN_A_FOLDER}" / "README.md").write_text(f"---\nlicense: {json.dumps(name + said)}\n---\n")
    models = {name: f"./{name}{IN_A_FOLDER}" for name in "ab"}
    path = folder / f"{IN_A_FOLDER}.yaml"
    path.write_text(
        f"mergegraph: 1\nname: {IN_YAML}\nmodels: {json.dumps(models)}\n"
        f"nodes:\n  merged: 0.5*a + 0.5*b\n"
        f"  out: {{op: save, input: merged, path: {json.dumps('out' + IN_A_FOLDER)}}}\n"
    )
    return path


def told(capfd: pytest.CaptureFixture[str]) -> str:
    captured = capfd.readouterr()
    return captured.out + captured.err


COMMANDS = [
    (("check",), 0, "warnings quote configurations"),
    (("check", "--json"), 0, "warnings as JSON"),
    (("plan",), 0, "names and paths"),
    (("plan", "--explain"), 0, "every tensor by name"),
    (("plan", "--json"), 0, "every tensor as JSON"),
    (("graph",), 0, "nodes and paths"),
    (("run", "--json"), 0, "progress and report as JSON"),
    (("run", "--budget", "1KiB"), 3, "a problem that names a tensor"),
    (("plan", "--set", "merged.\x1b[2J=1"), 2, "a setting that is wrong"),
    (("plan", "--set", f"out.dtype={HOSTILE['clear']}"), 2, "a value that is wrong"),
    (("run", "--device", HOSTILE["clear"]), 2, "an option that is wrong"),
    (("check", "--no\x1b[2J"), 2, "an option that there is none of"),
]


@pytest.mark.parametrize(("arguments", "code", "reason"), COMMANDS, ids=[" ".join(row[0]) for row in COMMANDS])
def test_no_command_sends_it(
    recipe: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, reason: str
) -> None:
    assert main([arguments[0], str(recipe), *arguments[1:]]) == code
    text = told(capfd)
    assert text
    assert shown_only(text), reason
    for line in text.splitlines() if arguments[-1] == "--json" else ():
        assert not line.startswith("{") or (line.isascii() and json.loads(line))


def test_a_run_and_what_it_leaves(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe)]) == 0
    assert shown_only(told(capfd))
    (recipe.parent / f"a{IN_A_FOLDER}" / "config.json").write_text('{"eos_token_id": 1}')
    assert main(["run", str(recipe)]) == 2
    text = told(capfd)
    assert "The output exists" in text
    assert shown_only(text)
    made = recipe.parent / f"out{IN_A_FOLDER}"
    card = (made / "README.md").read_text()
    assert shown_only(card)
    assert card.endswith("\n````\n"), "a fence in the recipe does not end the recipe's"
    assert (made / "mergegraph.json").read_bytes().isascii()
    held = json.loads((made / "mergegraph.json").read_bytes())["tensors"]
    assert set(held) == set(tensors(0.0)), "data keep the names as they are"


DAMAGES: dict[str, tuple[Mapping[str, object] | None, bytes]] = {
    "a dtype": ({"w": {"dtype": "\x1b[2J\u202e", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
    "a tensor's name": ({"".join(HOSTILE.values()): {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"abcd"),
    "a key": ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "\x1b[2J\n": 1}}, b"abcd"),
    "text before it": (None, b"<\x1b[2J"),
    "a duplicate": (None, b'"\\u001b[2J\\u202e":1'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_header_is_quoted_harmlessly(recipe: Path, capfd: pytest.CaptureFixture[str], damage: str) -> None:
    header, rest = DAMAGES[damage]
    text = json.dumps(header).encode() if header is not None else b"{" + rest + b"," + rest + b"}"
    (recipe.parent / f"a{IN_A_FOLDER}" / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + rest)
    main(["check", str(recipe)])
    assert shown_only(told(capfd))


WRONG = {
    "an op": f"nodes:\n  x: {{op: {IN_YAML}}}\n",
    "a key": f"nodes:\n  x: {{op: soup, {IN_YAML}: 1}}\n",
    "a node's name": f"nodes:\n  {IN_YAML}: {{op: soup}}\n",
    "an expression": f"nodes:\n  x: {IN_YAML}\n",
    "a model that is nowhere": f"models: {{a: {IN_YAML}}}\nnodes:\n  out: {{op: save, input: a, path: out}}\n",
    "a file to include": f"include: {{a: {IN_YAML}}}\nnodes: {{}}\n",
    "no YAML": "nodes: \x1b[2J\n",
    "no YAML either": "nodes: {a: \u202e]\n",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_recipe_is_quoted_harmlessly(tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: str) -> None:
    path = tmp_path / f"{IN_A_FOLDER}.yaml"
    path.write_text(f"mergegraph: 1\n{WRONG[wrong]}")
    for command in ("check", "graph"):
        assert main([command, str(path)]) in (0, 2)
        text = told(capfd)
        assert text
        assert shown_only(text), text


def test_configurations_pickles_and_operations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = "".join(HOSTILE.values())
    config = tmp_path / f"{IN_A_FOLDER}.yml"
    config.write_text(f"merge_method: {IN_YAML}\nmodels: [{{model: {IN_YAML}}}]\n{IN_YAML}: 1\n")
    assert main(["import", str(config)]) == 2
    config.write_text(f"merge_method: linear\nmodels: [{{model: {IN_YAML}, parameters: {{weight: 1}}}}]\n")
    assert main(["import", str(config), "-o", str(tmp_path / f"{IN_A_FOLDER}.yaml")]) in (0, 2)
    assert main(["import", str(config)]) in (0, 2)
    assert main(["ops", said]) == 2
    assert main(["run", "-e", said, "-m", f"{said}={said}", "-o", said]) == 2
    folder = tmp_path / IN_A_FOLDER
    folder.mkdir()
    torch.save({"model": {said: torch.ones(2), "step": 1}, said: 3}, folder / "pytorch_model.bin")
    (folder / f"{IN_A_FOLDER}.py").touch()
    assert main(["convert", str(folder)]) == 0
    assert main(["convert", str(folder)]) == 0  # nothing to do
    assert main(["convert", str(folder), "-o", str(folder)]) == 2
    assert main(["convert", str(folder), "-o", str(tmp_path / "o"), "--key", said]) == 2
    assert shown_only(told(capfd))


def test_a_bug_is_reported_harmlessly(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise ValueError("".join(HOSTILE.values()))

    monkeypatch.setattr("mergegraph.cli.checking.show_check", broken)
    assert main(["check", str(recipe)]) == 1
    text = told(capfd)
    assert "This is a bug in mergegraph" in text
    assert shown_only(text)


def test_a_terminal_gets_only_the_escapes_of_the_bar(recipe: Path) -> None:
    """On a terminal there is colour and a bar, and what they show is escaped all the same."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mergegraph", "run", str(recipe)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}):
        os.close(theirs)
        raw = b""
        try:
            while piece := os.read(ours, 65536):
                raw += piece
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    text = raw.decode()
    assert "\x1b[1m" in text, "there is colour"
    assert "\x1b]" not in text
    for name in ("clear", "return", "c1", "delete", "turned", "isolate", "invisible", "next line"):
        assert HOSTILE[name] not in text.replace("\r\n", "\n"), name
    assert "[red]x[/]" in text, "markup is text"


def test_the_bar_shows_a_name_as_it_is_written() -> None:
    said = "".join(IN_A_TENSOR.values())
    text = state_text(Progress(tensor=said), 0)
    assert shown_only(text)
    assert text.endswith(on_one_line(said))


def test_what_is_escaped() -> None:
    assert printable("a\x1bb\u202e\n\tü漢🙂") == "a\\x1bb\\u202e\n\tü漢🙂"
    assert on_one_line("a\nb\tc") == "a\\nb\\tc"
    problem = Problem("one\ntwo", Location("x\n  fix"), node="\r", tensor="\x00", why="a\nb", fix="\ud800")
    assert str(problem) == (
        'one\\ntwo\n  where   x\\n  fix, node "\\r", tensor \\x00\n  why     a\n          b\n  fix     \\ud800'
    )
