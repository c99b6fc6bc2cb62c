"""What the command refuses: each refusal has its exit code, says where, can be acted on, and leaves no trace."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from mergegraph.cli import main
from tests.cli.tiny_models import BLEND, read_file, tensors, tree, write_blend, write_file, write_model, write_sharded

Damage = Callable[[Path], None]
_SHARD = "model-00002-of-00003.safetensors"


@dataclass(frozen=True)
class Refusal:
    """`edit` changes one line of the blend recipe, `damage` the files; then the command refuses with `says`."""

    reason: str
    says: tuple[str, ...]
    edit: tuple[str, str] = ("", "")
    damage: Damage = lambda folder: None
    arguments: tuple[str, ...] = ()
    exit_code: int = 2
    is_checked: bool = True
    """Whether `check`, which sees neither the output folder nor `-o`, refuses it too."""


def cut(folder: Path) -> None:
    file = folder / "code" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def corrupt(folder: Path) -> None:
    file = folder / "code" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[8] = ord("[")
    file.write_bytes(bytes(raw))


def huge_header(folder: Path) -> None:
    (folder / "code" / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")


def replace_code(folder: Path, held: dict[str, tuple[list[int], list[float]]], **config: object) -> None:
    for file in (folder / "code").iterdir():
        file.unlink()
    (folder / "code").rmdir()
    write_model(folder / "code", held, **config)


def lose_tensor(folder: Path) -> None:
    held = tensors(shift=0.25)
    del held["model.layers.1.mlp.up_proj.weight"]
    replace_code(folder, held)


def lose_shard(folder: Path) -> None:
    replace_code(folder, tensors())
    for file in (folder / "code").iterdir():
        file.unlink()
    (folder / "code").rmdir()
    write_sharded(folder / "code", tensors(shift=0.25))
    (folder / "code" / _SHARD).unlink()


def pickle_only(folder: Path) -> None:
    (folder / "code" / "model.safetensors").rename(folder / "code" / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    for file in (folder / "code").iterdir():
        file.unlink()
    settings = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 4}
    (folder / "code" / "adapter_config.json").write_text(json.dumps(settings))
    write_file(folder / "code" / "adapter_model.safetensors", {"layers.0.lora_A.weight": ([1, 2], [0.0, 0.0])})


def tokenizers(folder: Path) -> None:
    for model, words in (("base", "abc"), ("code", "axc")):
        vocabulary = {word: row for row, word in enumerate(words)}
        (folder / model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))


def occupied(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "precious.txt").write_text("mine")


def no_models(folder: Path) -> None:
    (folder / "code" / "model.safetensors").unlink()
    (folder / "code" / "config.json").unlink()


SUM = "{op: sum, inputs: [base, boost]}"
REFUSALS = [
    # what the recipe says
    Refusal("an op that does not exist", ("blend.yaml:7", '"scal"', "scale"), ("op: scale", "op: scal")),
    Refusal("a key that the op does not have", ("blend.yaml:7", '"bye"', "by"), ("by: 0.5", "bye: 0.5")),
    Refusal("a key that a recipe does not have", ("blend.yaml:2", '"nmae"', "name"), ("name: blend", "nmae: blend")),
    Refusal("a node that does not exist", ("blend.yaml:8", "bost", "boost"), ("[base, boost]", "[base, bost]")),
    Refusal("a number that is none", ("blend.yaml:7", "by", "number"), ("by: 0.5", "by: much")),
    Refusal("a cycle", ("blend.yaml", "cycle", "merged"), ("input: d_code, by", "input: merged, by")),
    Refusal("two weights summed", ("blend.yaml:8", '"merged"', "soup"), ("[base, boost]", "[base, code]")),
    Refusal("a delta saved as weights", ("blend.yaml:9", '"out"', "format: delta"), ("input: merged", "input: boost")),
    Refusal("not YAML", ("blend.yaml:7",), ("by: 0.5}", "by: 0.5")),
    Refusal("no version", ("blend.yaml", "mergegraph: 1"), ("mergegraph: 1\n", "")),
    Refusal("nothing is saved", ("blend.yaml", "save"), ("  out: {op: save, input: merged, path: out}\n", "")),
    Refusal("a kind of tensor that does not exist", ("blend.yaml:7", "mlpp", "mlp"),
            ("by: 0.5", "by: [{kind: mlpp, value: 1}]")),
    Refusal("a rule that leaves a tensor out", ("blend.yaml:7", "boost", "embed_tokens"),
            ("by: 0.5", "by: [{kind: mlp, value: 1}]")),
    Refusal("an unknown dtype", ("blend.yaml:9", "bf17"), ("path: out}", "path: out, dtype: bf17}")),
    Refusal("a soup whose weights cancel", ("blend.yaml:8", "zero"),
            (SUM, "{op: soup, inputs: [base, {from: code, weight: -1}]}")),
    # what the models are
    Refusal("a model that is not there", ("blend.yaml:5", "./coed", "code"), ("./code", "./coed")),
    Refusal("a folder without a model", ("blend.yaml:5", "code"), damage=no_models),
    Refusal("a tensor is missing in one model", ("blend.yaml:6", "layers.1.mlp", "missing: keep"), damage=lose_tensor),
    Refusal("shapes differ", ("blend.yaml:6", "[16, 8]", "[24, 8]"),
            damage=lambda folder: replace_code(folder, tensors(shift=0.25, vocabulary=24))),
    Refusal("a truncated file", ("blend.yaml:5", "model.safetensors", "again"), damage=cut),
    Refusal("a corrupt header", ("blend.yaml:5", "model.safetensors"), damage=corrupt),
    Refusal("a header of an exbibyte", ("blend.yaml:5", "model.safetensors"), damage=huge_header),
    Refusal("a missing shard", ("blend.yaml:5", _SHARD), damage=lose_shard),
    Refusal("a pickled model", ("blend.yaml:5", "pickle", "mergegraph convert"), damage=pickle_only),
    Refusal("an adapter given as a model", ("blend.yaml:5", "adapter", "org/base"), damage=adapter),
    Refusal("another base", ("blend.yaml:6", "cosine", "--allow-unrelated"),
            damage=lambda folder: replace_code(folder, tensors(seed=1))),
    Refusal("another architecture", ("blend.yaml:6", "gpt2", "--allow-unrelated"),
            damage=lambda folder: replace_code(folder, tensors(shift=0.25), model_type="gpt2")),
    Refusal("another tokenizer", ("blend.yaml:6", "tokenizer", "'b'", "'x'"), damage=tokenizers),
    # where the output goes
    Refusal("the output exists", ("blend.yaml:9", "exists", "--overwrite"), damage=occupied, is_checked=False),
    Refusal("the output is inside an input", ("blend.yaml:9", "inside", '"code"'), ("path: out", "path: code/out")),
    Refusal("the output would replace the inputs", ("blend.yaml:9", '"base"'), ("path: out", "path: .")),
    Refusal("no output path", ("blend.yaml:9", "-o"), (", path: out", ""), is_checked=False),
    Refusal("an output inside another", ("blend.yaml:10", "meet on disk", "beside"),
            ("path: out}", "path: out}\n  more: {op: save, input: merged, path: out/more}")),
    Refusal("files from no model", ("blend.yaml:9", "files_from: merged", "base, code"),
            ("path: out", "path: out, files_from: merged")),
    Refusal("a number that float32 cannot hold", ("blend.yaml:9", "1.00e+39", "float32"), ("by: 0.5", "by: 1e39")),
    # what was typed
    Refusal("a budget that is no size", ("--budget", "12 parsecs", "2GiB"), arguments=("--budget", "12 parsecs")),
    Refusal("a budget that is too small", ("1.0 KiB", "--budget"), arguments=("--budget", "1KiB"), exit_code=3),
    Refusal("a device there is not", ("--device cuda:77", "here"), arguments=("--device", "cuda:77")),
    Refusal("a device budget that is no size", ("--device-budget", "much"),
            arguments=("--device", "cuda", "--device-budget", "much")),
    Refusal("a device nobody knows", ("--device tpu", "cpu"), arguments=("--device", "tpu")),
    Refusal("statistics on a device", ("--device cuda", "the processor counts them", "--device cpu"),
            arguments=("--stats", "--device", "cuda"), is_checked=False),
    Refusal("a setting for no node", ("--set", "bost", "boost"), arguments=("--set", "bost.by=1")),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reason)
def test_a_refusal_says_where_and_what_to_do_and_writes_nothing(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_blend(tmp_path)
    assert refusal.edit[0] in BLEND
    recipe.write_text(BLEND.replace(*refusal.edit, 1) if refusal.edit[0] else BLEND)
    refusal.damage(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)

    assert main(["run", "blend.yaml", *refusal.arguments]) == refusal.exit_code

    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(part in shown.err for part in refusal.says), shown.err
    assert "  where   " in shown.err
    assert "  fix     " in shown.err
    assert "Traceback" not in shown.err
    assert len(shown.err.splitlines()) <= 24
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "refusal", [each for each in REFUSALS if each.is_checked and not each.arguments], ids=lambda refusal: refusal.reason
)
def test_check_refuses_what_a_run_would_refuse(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_blend(tmp_path)
    recipe.write_text(BLEND.replace(*refusal.edit, 1) if refusal.edit[0] else BLEND)
    refusal.damage(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml"]) == 2
    said = capsys.readouterr().err
    assert main(["check", "blend.yaml"]) == 2
    assert capsys.readouterr().err == said


def test_check_warns_of_a_save_without_a_path_and_looks_at_the_rest_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe.write_text(BLEND.replace(", path: out", ""))
    assert main(["check", "blend.yaml"]) == 0
    shown = capsys.readouterr()
    assert "warning: The save has no path." in shown.err
    assert "-o DIR" in shown.err
    assert shown.out == "blend.yaml: fine (6 nodes, 2 models, 3 tensors, 1 warning)\n"
    recipe.write_text(BLEND.replace("path: out", "files_from: merged"))
    assert main(["check", "blend.yaml"]) == 2
    assert "files_from: merged" in capsys.readouterr().err


def test_check_does_not_ask_how_much_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mergegraph.plan.outputs.default_budget", lambda: 1)
    assert main(["plan", "blend.yaml"]) == 3
    assert main(["check", "blend.yaml"]) == 0


def with_late_nan(folder: Path) -> None:
    """Two tensors are finished before the one that holds a NaN."""
    held = tensors(shift=0.25)
    held["model.layers.1.mlp.up_proj.weight"][1][5] = float("nan")
    replace_code(folder, held)


def test_a_nan_in_an_input_can_be_mended_or_allowed_as_the_message_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    with_late_nan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml", "--threads", "1"]) == 1
    message = capsys.readouterr().err
    assert f"2 finished tensors are kept in {tmp_path / 'out.partial'}" in message
    assert 'put an intact model in place of "code", and run again with --overwrite' in message
    assert "--allow-non-finite" in message

    replace_code(tmp_path, tensors(shift=0.25))
    assert main(["run", "blend.yaml"]) == 2
    refusal = capsys.readouterr().err
    assert "code/model.safetensors" in refusal
    assert "--overwrite" in refusal
    assert main(["run", "blend.yaml", "--overwrite"]) == 0
    assert "3 tensors: 3 computed, 0 copied\n" in capsys.readouterr().out
    assert not (tmp_path / "out.partial").exists()


def test_a_run_that_allows_nan_goes_on_from_the_one_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    with_late_nan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml", "--threads", "1"]) == 1
    assert main(["run", "blend.yaml", "--allow-non-finite"]) == 0
    assert "1 tensor: 1 computed, 0 copied; 2 more were found done" in capsys.readouterr().out
    assert main(["run", "blend.yaml"]) == 2
    refusal = capsys.readouterr().err
    assert "1 value that is not finite" in refusal
    assert "model.layers.1.mlp.up_proj.weight" in refusal
    assert "--allow-non-finite" in refusal
    assert main(["run", "blend.yaml", "--allow-non-finite"]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("expression", "typed"),
    [
        ("code - base", "base + (code - base)"),
        ("0.5*(code - base) + 0.25*(base - code)", "base + (0.5*(code - base) + 0.25*(base - code))"),
    ],
)
def test_a_delta_at_the_root_of_an_expression_is_told_what_to_type(
    expression: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    models = ["-m", "base=base", "-m", "code=code", "-o", "out"]
    assert main(["run", "-e", expression, *models]) == 2
    assert f'-e "{typed}"' in capsys.readouterr().err
    assert main(["run", "-e", typed, *models]) == 0


def test_a_nan_in_an_input_is_named_and_no_output_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    held = tensors(shift=0.25)
    held["model.layers.0.mlp.up_proj.weight"][1][5] = float("nan")
    replace_code(tmp_path, held)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml"]) == 1
    message = capsys.readouterr().err
    for part in ("model.layers.0.mlp.up_proj.weight", '"code" holds 1 NaN', "blend.yaml:9", "--allow-non-finite"):
        assert part in message
    assert not (tmp_path / "out").exists()

    assert main(["run", "blend.yaml", "--allow-non-finite"]) == 0
    assert "1 value not finite in model.layers.0.mlp.up_proj.weight" in capsys.readouterr().out


def test_a_full_disk_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)

    def full(path: object) -> object:
        return SimpleNamespace(f_bavail=1, f_frsize=512, f_blocks=1000)

    monkeypatch.setattr(os, "statvfs", full)
    assert main(["run", "blend.yaml"]) == 3
    message = capsys.readouterr().err
    assert "512 B" in message
    assert "  fix     " in message
    assert tree(tmp_path) == before


def test_other_bases_are_merged_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    replace_code(tmp_path, tensors(seed=1))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "blend.yaml", "--allow-unrelated"]) == 0
    shown = capsys.readouterr()
    assert "warning: " in shown.err
    assert "cosine" in shown.err
    assert "1 warning" in shown.out


def test_a_model_listed_twice_is_read_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_blend(tmp_path)
    monkeypatch.chdir(tmp_path)
    models = ["-m", "a=base", "-m", "b=./base", "-m", "c=code"]
    assert main(["run", "-e", "0.25*a + 0.25*b + 0.5*c", *models, "-o", "out"]) == 0
    made, base = read_file(tmp_path / "out" / "model.safetensors"), tensors()
    for name, (_, values) in base.items():
        assert made[name] == pytest.approx([value + 0.125 for value in values], abs=1e-6)


NO_RECIPES = {
    "evil.pt": b"PK\x03\x04" + bytes(64),
    "pickled/pytorch_model.bin": b"\x80\x02}.",
    "model.gguf": b"GGUF\x03\0\0\0",
    "page.yaml": b"\n<!DOCTYPE html>",
    "merge_key.yaml": b"<<: {name: x}\n",
    "huge.yaml": b"",
    "circular.yaml": b"mergegraph: 1\ninclude: {x: {recipe: circle.yaml}}\n",
}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "blende.yaml"], "did you mean blend.yaml?"),  # a misspelt file
        (["run", "."], "is a folder"),
        (["check", "/dev/null"], "/dev/null is a device, not a recipe."),
        (["run", "fifo"], "fifo is a pipe, not a recipe."),
        (["run", "circle.yaml"], "is a link that leads back to itself"),
        (["run", "base"], "mergegraph info base"),  # a model's folder
        (["plan", "pickled"], "mergegraph convert pickled -o pickled-safetensors"),
        (["check", "evil.pt"], "evil.pt is not a recipe: it is a pickled file"),
        (["plan", "evil.pt"], "mergegraph convert evil.pt -o evil-safetensors"),
        (["import", "evil.pt"], "mergegraph convert evil.pt -o evil-safetensors"),
        (["run", "base/model.safetensors"], "mergegraph info base/model.safetensors"),
        (["run", "model.gguf"], "it is a GGUF file"),
        (["graph", "page.yaml"], "it is a web page"),
        (["check", "merge_key.yaml"], "merge keys"),  # begins as a web page does
        (["check", "huge.yaml"], "more than 10,000,000 bytes"),
        (["check", "circular.yaml"], 'The included recipe "circle.yaml" is not there.'),
        (["run", "nowhere/x.yaml"], "folder nowhere does not exist"),
        (["run"], "mergegraph run"),
        (["run", "blend.yaml", "-e", "a"], "leave one of them out"),
        (["run", "-e", "a", "-m", "a=base"], "add -o FOLDER"),
        (["run", "-e", "a", "-m", "base", "-o", "out"], "-m NAME=FOLDER"),
        (["run", "-e", "a", "-m", "a=base", "-m", "a=code", "-o", "out"], 'called "a"'),
        (["run", "-e", "a + b", "-m", "a=base", "-o", "out"], "-m b=REF"),
        (["run", "-e", "a", "-m", "a=base", "-o", "out", "--set", "a.b=1"], "a recipe file"),
        (["run", "blend.yaml", "--thread", "2"], "--thread"),
        (["run", "blend.yaml", "--threads", "0"], "--threads"),
        (["rum", "blend.yaml"], "run"),
        (["ops", "scal"], "scale"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_a_usage_error(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_blend(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for name, content in NO_RECIPES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.truncate(tmp_path / "huge.yaml", 1 << 40)  # takes no space, and is not read
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err
