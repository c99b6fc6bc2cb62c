"""`mergegraph stats` and `run --stats` on the command line."""

from __future__ import annotations

import csv
import json
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import torch

from mergegraph.cli import main
from mergegraph.stats.files import load, to_json
from mergegraph.stats.record import Record
from tests.tiny_models import llama_tensors, write_model

RECIPE = """mergegraph: 1
name: t
nodes:
  base: {op: load, model: ./base}
  a: {op: load, model: ./a}
  b: {op: load, model: ./b}
  merged: base + 0.6*(a - base) + 0.7*(b - base)
  out: {op: save, input: merged, path: out}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stats")
    base = llama_tensors()
    write_model(folder / "base", base)
    for seed, name in ((1, "a"), (2, "b")):
        write_model(folder / name, llama_tensors(noise_of=base, seed=seed))
    (folder / "t.yaml").write_text(RECIPE)
    (folder / "kept.json").write_bytes(to_json(Record("base", ("a",), "", ())))
    return folder


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def command(folder: Path, *arguments: str) -> Ran:
    """The command, run in `folder` in this process."""
    said, told = StringIO(), StringIO()
    with chdir(folder), redirect_stdout(said), redirect_stderr(told):
        code = main(list(arguments))
    return Ran(code, said.getvalue(), told.getvalue())


def test_a_run_leaves_a_record_that_is_shown_again(folder: Path) -> None:
    ran = command(folder, "run", "t.yaml", "--stats", "--overwrite", "--json", "--quiet")
    assert ran.returncode == 0, ran.stderr
    kept = (folder / "out" / "stats.json").read_bytes()
    counted = command(folder, "stats", "t.yaml", "--json", "again.json", "--csv", "again.csv")
    assert counted.returncode == 0, counted.stderr
    assert (folder / "again.json").read_bytes() == kept
    assert (folder / "again.csv").read_text().startswith("tensor,dtype,shape")
    for shown in (command(folder, "stats", "out"), command(folder, "stats", "out", "again.json")):
        assert shown.returncode == 0, shown.stderr
        assert "base" in shown.stdout


def test_models_are_measured_against_a_base_with_their_spectra(folder: Path) -> None:
    ran = command(folder, "stats", "a", "b", "--base", "base", "--tier", "2", "--json", "models.json", "-q")
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    content = json.loads((folder / "models.json").read_text())
    assert (content["base"], content["sources"], content["result"]) == ("base", ["a", "b"], "")
    spectra = [each["spectral"] for each in content["tensors"] if len(each["shape"]) == 2]
    assert spectra
    assert all(len(each["sources"]) == 2 for each in spectra)


@pytest.mark.parametrize(
    ("arguments", "said", "why"),
    [
        (("stats", "nothing.yaml"), "There is no recipe nothing.yaml", "no such recipe"),
        (("stats", "nothing.json"), "There is no record nothing.json", "no such record"),
        (("stats", "nowhere"), "nowhere", "no such model"),
        (("stats", "t.yaml", "a"), "A recipe is measured alone.", "a recipe and a model"),
        (("stats", "a", "a"), "A model was named twice.", "twice the same"),
        (("stats", "a", "--set", "x.y=1"), "--set changes a recipe", "a number of no recipe"),
        (("stats", "t.yaml", "--csv", "no/such.csv"), "no/such.csv cannot be written", "a folder that is not there"),
        (("stats", "kept.json", "--exact"), "kept.json is a record: --exact needs", "a record has no elements"),
        (("stats", "kept.json", "--base", "base"), "kept.json is a record: --base needs", "nor another base"),
        (("stats", "kept.json", "--set", "x.y=1"), "kept.json is a record: --set needs", "nor a recipe"),
        (("stats", "kept.json", "kept.json", "--tensor", "x"), "--tensor is about one record", "one of two records"),
        (("stats", "t.yaml", "--tensor", "norm", "--json", "never.json"), 'no tensor "norm"', "a name that is none"),
        (("stats", "a", "--tensor", "norm", "--json", "never.json"), 'no tensor "norm"', "nor in a model"),
        (("stats", "t.yaml", "--base", "nowhere"), "nowhere", "a base that is not there"),
        (("run", "t.yaml", "--stats", "--device", "cuda"), "--stats does not go with a device", "on a device"),
    ],
)
def test_what_cannot_be_measured_is_refused(folder: Path, arguments: tuple[str, ...], said: str, why: str) -> None:
    ran = command(folder, *arguments)
    assert ran.returncode == 2, why
    assert said in ran.stderr, why
    assert "This is a bug" not in ran.stderr, why
    assert not (folder / "never.json").exists(), why


SHOWN = [
    ((), "Tensors that stand out", "everything"),
    (("--metric", "cosine"), "cosine of two changes of a and b", "a heat map of another metric"),
    (("--sort", "relative", "--limit", "2"), "and ", "a table, and how many rows are left out"),
    (("--tensor", "model.norm.weight"), "model.norm.weight float32", "one tensor"),
]


@pytest.mark.parametrize(("options", "said", "why"), SHOWN, ids=[row[2] for row in SHOWN])
def test_a_record_is_shown(folder: Path, options: tuple[str, ...], said: str, why: str) -> None:
    ran = command(folder, "stats", "t.yaml", *options)
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout, why
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_a_report_is_one_file_for_each_record(folder: Path) -> None:
    (folder / "saves.yaml").write_text(RECIPE + "  more: {op: save, input: a, path: more}\n")
    for recipe, names in (("t.yaml", ["report.html"]), ("saves.yaml", ["report-out.html", "report-more.html"])):
        ran = command(folder, "stats", recipe, "--html", "report.html", "--quiet")
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        assert sorted(path.name for path in folder.glob("*.html")) == sorted(names)
        for name in names:
            assert "model.norm.weight" in (folder / name).read_text()
            (folder / name).unlink()


def test_two_records_are_compared(folder: Path) -> None:
    for name, strength in (("one", "0.6"), ("two", "0.9")):
        (folder / f"{name}.yaml").write_text(RECIPE.replace("0.6", strength))
        assert command(folder, "stats", f"{name}.yaml", "--json", f"{name}.json", "--quiet").returncode == 0
    ran = command(folder, "stats", "one.json", "two.json", "--metric", "attribution")
    assert ran.returncode == 0, ran.stderr
    assert "0.600" in ran.stdout
    assert "0.900" in ran.stdout
    assert "+0.300" in ran.stdout
    written = command(folder, "stats", "one.json", "two.json", "--csv", "both.csv", "--json", "both.json", "--quiet")
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    rows = list(csv.DictReader((folder / "both.csv").read_text().splitlines()))
    (kept,) = (row for row in rows if (row["tensor"], row["metric"], row["of"]) == ("", "attribution", "a"))
    assert [float(kept[name]) for name in ("first", "second", "difference")] == pytest.approx([0.6, 0.9, 0.3])
    content = json.loads((folder / "both.json").read_text())
    assert len(content["whole"]) + len(content["tensors"]) == len(rows)
    refused = command(folder, "stats", "one.json", "two.json", "--html", "x.html")
    assert refused.returncode == 2
    assert not (folder / "x.html").exists()


def test_models_without_a_base_are_not_called_changes(folder: Path) -> None:
    ran = command(folder, "stats", "a", "b", "--tensor", "model.norm.weight")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("There is no base: what is called a change is the model itself.") == 1
    shown = command(folder, "stats", "a", "b")
    assert "cosine of two models" in shown.stdout
    assert (shown.stdout + shown.stderr).count("There is no base") == 1, "said once"


def test_models_of_one_name_and_what_only_one_has_are_told_apart(folder: Path) -> None:
    base = llama_tensors()
    for at in ("x", "y"):
        write_model(folder / at / "model", {**base, f"{at}.weight": torch.ones(3), "ids": torch.arange(4)})
    ran = command(folder, "stats", "y/model", "--base", "x/model", "--json", "named.json")
    assert ran.returncode == 0, ran.stderr
    assert "models: y/model against model" in ran.stdout
    assert "not looked at: 1 tensor (ids): it is int64, not floating point" in ran.stdout
    kept = load(folder / "named.json")
    skipped = {tensor.name: tensor.skipped for tensor in kept.tensors if tensor.skipped}
    assert skipped["x.weight"] == "y/model has no such tensor"
    assert skipped["y.weight"] == "model has no such tensor"


def test_a_metric_that_is_none_is_refused_before_anything_is_read(folder: Path) -> None:
    ran = command(folder, "stats", "t.yaml", "--metric", "cosin", "--json", "never.json")
    assert ran.returncode == 2
    assert "cosine" in ran.stderr
    assert not (folder / "never.json").exists()
