"""How a run ends, well or badly, and what the next one makes of what it left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mergegraph.errors import Interrupted, OutputError, RunError
from mergegraph.execute.control import Control
from mergegraph.execute.run import Options, run
from mergegraph.execute.work import Work
from tests.execute.merging import BLOCK, after_tiles, merged, planned, stopped_after, tiled, tree
from tests.tiny_models import write_model

NODES = """a: {op: load, model: ./a}
b: {op: load, model: ./b}
m: 0.5*a + 0.5*b
out: {op: save, input: m, path: out}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        tensors = {f"w{n}": torch.randn(BLOCK + n, generator=generator) for n in range(4)}
        write_model(tmp_path / name, tensors, config={"model_type": "x"})
        (tmp_path / name / "tokenizer_config.json").write_text("{}")
    return tmp_path


def interrupted(folder: Path, **options: object) -> None:
    with pytest.raises(Interrupted):
        merged(tiled(planned(folder, NODES), 1), executor=stopped_after(2), **options)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.safetensors", "model.safetensors is missing"),
        ("tokenizer_config.json", "tokenizer_config.json is missing"),
        ("README.md", "README.md is missing"),
        ("mergegraph.json", "mergegraph.json is missing or torn"),
        ("model.safetensors+", r"model.safetensors has [\d,]+ bytes, [\d,]+ were written"),
        ("config.json+", r"config.json has [\d,]+ bytes, [\d,]+ were written"),
    ],
)
def test_an_output_that_lost_a_file_is_not_done(folder: Path, name: str, told: str) -> None:
    merged(planned(folder, NODES))
    assert merged(planned(folder, NODES)).already_done == ("out",)
    before = tree(folder / "out")
    file = folder / "out" / name.removesuffix("+")
    file.write_bytes(file.read_bytes()[:-1]) if name.endswith("+") else file.unlink()
    with pytest.raises(OutputError, match="exists and is not as it was written") as refused:
        merged(planned(folder, NODES))
    assert re.fullmatch(told, refused.value.problems[0].why)
    report = merged(planned(folder, NODES), overwrite=True)
    assert not report.already_done
    assert tree(folder / "out") == before


def test_a_card_that_somebody_wrote_into_is_theirs(folder: Path) -> None:
    merged(planned(folder, NODES))
    card = folder / "out" / "README.md"
    card.write_text(card.read_text() + "Licence: none.\n")
    assert merged(planned(folder, NODES)).already_done == ("out",)
    assert card.read_text().endswith("Licence: none.\n")


def touched(folder: Path) -> None:
    os.utime(folder / "b" / "model.safetensors", ns=(1, 1))


def copied_along(folder: Path) -> None:
    (folder / "a" / "tokenizer_config.json").write_text('{"another": 1}')


def made_elsewhere(folder: Path) -> None:
    record = folder / "out" / "mergegraph.json"
    record.write_text(re.sub(r'"torch": "[^"]*"', '"torch": "1.0"', record.read_text()))
    forgotten(folder)


def forgotten(folder: Path) -> None:
    """The run's record is lost, as where an output was published without it."""
    (folder / "out" / "mergegraph.run.json").unlink()


def not_ours(folder: Path) -> None:
    (folder / "out" / "mergegraph.json").unlink()
    forgotten(folder)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder / "out")
    (folder / "out").mkdir()


def led_out(folder: Path) -> None:
    record = folder / "out" / "mergegraph.json"
    record.write_text(record.read_text().replace('"model.safetensors"', '"../out/model\\n.safetensors"'))


def a_file(folder: Path) -> None:
    shutil.rmtree(folder / "out")
    (folder / "out").write_text("")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            touched,
            r"another result: .*b/model\.safetensors is another file than it was made from, or was written since",
        ),
        (copied_along, "another result: the files that are copied along differ"),
        (made_elsewhere, r"another result: mergegraph \S+ with torch 1\.0 made it, this is mergegraph "),
        (forgotten, r"another result: which inputs .* is not known without its mergegraph\.run\.json"),
        (led_out, r"names a file that is not in the folder: \.\./out/model\\n\.safetensors"),
        (not_ours, "it is not an output of mergegraph"),
        (emptied, "it is an empty folder"),
        (a_file, "it is a file, and an output is a folder"),
    ],
)
def test_what_else_stands_at_the_path_is_said(folder: Path, change: Callable[[Path], None], told: str) -> None:
    merged(planned(folder, NODES))
    change(folder)
    with pytest.raises(OutputError, match="--overwrite") as refused:
        merged(planned(folder, NODES))
    assert re.search(told, refused.value.problems[0].why)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (a_file, "it is no .safetensors file"),
        (lambda folder: (folder / "out" / "notes").mkdir(), "it holds the folder notes"),
        (lambda folder: (folder / "out" / "own.yaml").touch(), "it holds own.yaml, which may be a recipe"),
    ],
)
def test_overwrite_is_offered_only_where_it_replaces_what_stands(
    folder: Path, change: Callable[[Path], None], kept: str
) -> None:
    merged(planned(folder, NODES))
    change(folder)
    other = planned(folder, NODES.replace("0.5*a", "0.25*a").replace("0.5*b", "0.75*b"))
    with pytest.raises(OutputError, match="The output exists") as refused:
        merged(other)
    (problem,) = refused.value.problems
    assert problem.why.endswith(f"; --overwrite does not replace it: {kept}")
    assert problem.fix == "another path with -o, or remove it yourself"
    with pytest.raises(OutputError, match="will not be overwritten") as refused:
        merged(other, overwrite=True)
    assert refused.value.problems[0].why == kept


def test_another_recipe_is_said_before_what_follows_from_it(folder: Path) -> None:
    merged(planned(folder, NODES))
    touched(folder)
    with pytest.raises(OutputError) as refused:
        merged(planned(folder, NODES.replace("0.5*a", "0.25*a").replace("0.5*b", "0.75*b")))
    assert refused.value.problems[0].why == "it is another result: the recipe or its seed is another"


def test_a_sidecar_that_is_gone_is_an_error_with_its_name(folder: Path) -> None:
    plan = planned(folder, NODES)
    (folder / "a" / "tokenizer_config.json").unlink()
    with pytest.raises(RunError, match=r"tokenizer_config\.json cannot be read"):
        merged(plan)
    assert not (folder / "out").exists()


def test_the_last_progress_on_disk_says_that_the_run_stopped(folder: Path) -> None:
    interrupted(folder)
    assert json.loads((folder / "out.partial" / "progress.json").read_bytes())["state"] == "stopped"


def test_a_pause_that_was_left_behind_does_not_hold_the_next_run(folder: Path) -> None:
    interrupted(folder)
    (folder / "out.partial" / "pause").touch()
    assert merged(planned(folder, NODES)).resumed


def test_a_control_serves_again_after_a_failure(folder: Path) -> None:
    control = Control()
    control.fail()
    assert run(planned(folder, NODES), Options(sync=False), control=control).tensors == 4


def test_nan_that_an_earlier_run_was_allowed_is_not_resumed_unasked(folder: Path) -> None:
    bad = torch.full((BLOCK,), float("nan"))
    write_model(folder / "a", {f"w{n}": bad if not n else torch.ones(BLOCK + n) for n in range(4)})
    interrupted(folder, allow_non_finite=True)
    with pytest.raises(RunError, match="not finite"):
        merged(planned(folder, NODES))
    assert merged(planned(folder, NODES), allow_non_finite=True).resumed


def test_an_output_names_only_the_models_it_is_made_from(folder: Path) -> None:
    merged(planned(folder, NODES + "\nc: {op: load, model: ./b}\nalone: {op: save, input: a, path: alone}"))
    inputs = json.loads((folder / "alone" / "mergegraph.json").read_bytes())["inputs"]
    assert {each["node"] for each in inputs} == {"a"}
    assert "- `b`" not in (folder / "alone" / "README.md").read_text()


def test_a_link_that_leads_out_of_a_model_is_not_copied(folder: Path) -> None:
    (folder / "secret").write_text("secret")
    (folder / "a" / "vocab.json").symlink_to(folder / "secret")
    merged(planned(folder, NODES))
    assert not (folder / "out" / "vocab.json").exists()


def test_an_input_that_changes_during_the_run_ends_it_with_advice_that_works(folder: Path) -> None:
    def change(control: Control) -> None:
        control.stop()
        write_model(folder / "b", {f"w{n}": torch.ones(BLOCK + n) for n in range(4)})

    with pytest.raises(Interrupted):
        merged(plan := tiled(planned(folder, NODES), 1), executor=after_tiles(2, change))
    with pytest.raises(RunError, match="has changed since it was planned") as stopped:
        merged(plan)
    assert "--overwrite" in stopped.value.problems[0].fix
    with pytest.raises(OutputError) as refused:
        merged(planned(folder, NODES))
    (problem,) = refused.value.problems
    assert problem.why == f"it was begun from another {folder / 'b' / 'model.safetensors'}"
    assert "--overwrite" in problem.fix
    assert merged(planned(folder, NODES), overwrite=True).computed == 4


def test_a_partial_folder_of_another_recipe_is_not_said_to_have_another_input(folder: Path) -> None:
    interrupted(folder)
    with pytest.raises(OutputError) as refused:
        merged(planned(folder, NODES.replace("0.5*a", "0.25*a").replace("0.5*b", "0.75*b")))
    assert "its plan (recipe, seed) is" in refused.value.problems[0].why


def test_a_resumed_run_reports_what_it_did_itself(folder: Path) -> None:
    interrupted(folder)
    plan = planned(folder, NODES)
    report = merged(plan)
    rest = 4 * (3 * BLOCK + 6)
    assert (report.tensors, report.resumed, report.computed, report.copied) == (4, 1, 3, 0)
    assert (report.read_bytes, report.write_bytes) == (2 * rest, rest)
    again = merged(plan)
    assert (again.tensors, again.resumed, again.computed, again.copied) == (4, 0, 0, 0)
    assert (again.read_bytes, again.write_bytes) == (0, 0)


def test_copies_are_counted_apart(folder: Path) -> None:
    report = merged(planned(folder, NODES + "\nalone: {op: save, input: a, path: alone}"))
    assert (report.tensors, report.computed, report.copied) == (8, 4, 4)


def test_an_output_with_nan_is_done_only_where_nan_is_allowed(folder: Path) -> None:
    bad = torch.full((BLOCK,), float("nan"))
    write_model(folder / "a", {f"w{n}": bad if not n else torch.ones(BLOCK + n) for n in range(4)})
    merged(planned(folder, NODES), allow_non_finite=True)
    assert merged(planned(folder, NODES), allow_non_finite=True).already_done == ("out",)
    with pytest.raises(OutputError, match="65,536 values that are not finite") as refused:
        merged(planned(folder, NODES))
    assert refused.value.problems[0].tensor == "w0"


def test_an_input_that_is_written_into_while_it_is_read_is_not_published(folder: Path) -> None:
    """Its descriptor stays open, and no read fails: the output would be of neither file."""
    stored = folder / "b" / "model.safetensors"

    def write_into(control: Control) -> None:
        with stored.open("r+b") as file:
            file.seek(-8, 2)
            file.write(b"\0" * 8)
        status = stored.stat()
        os.utime(stored, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    with pytest.raises(RunError, match=r"b/model\.safetensors has changed since it was planned") as stopped:
        merged(planned(folder, NODES), executor=after_tiles(2, write_into))
    assert "--overwrite" in stopped.value.problems[0].fix
    assert not (folder / "out").exists()
    with pytest.raises(OutputError, match="begun from another"):
        merged(planned(folder, NODES))
    assert merged(planned(folder, NODES), overwrite=True).computed == 4


def test_a_second_signal_ends_as_the_first_would_have(folder: Path) -> None:
    def twice(work: Work, control: Control, tick: Callable[[], None]) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="Stopped by SIGTERM") as stopped:
        merged(planned(folder, NODES), executor=twice)
    assert stopped.value.exit_code == 75
    assert not (folder / "out.partial").exists()


@pytest.mark.parametrize(
    ("left", "fix"), [("out.replaced-by-mergegraph-0123abcd", "rm -r {}"), ("out.partial", "mergegraph info {}\n")]
)
def test_what_a_stopped_overwriting_left_is_named(folder: Path, left: str, fix: str) -> None:
    merged(planned(folder, NODES))
    shutil.copytree(folder / "out", folder / left)
    report = merged(planned(folder, NODES))
    (problem,) = report.warnings
    assert problem.fix.startswith(fix.format(folder / left))
    merged(planned(folder, NODES), overwrite=True)
    assert not (folder / left).exists()
