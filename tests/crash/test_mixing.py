"""What a run refuses to mix: inputs that change under it, another run's output, another result's partial folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.conftest import Count
from tests.crash.forks import Ended, Forks, Prepared
from tests.crash.merges import believed, files_in, write_recipe

RUN = ("run", "merge.yaml", "--json", "--quiet", "--threads", "1")


@pytest.fixture
def merge(place: Path, small_models: Path) -> Path:
    """A folder with inputs of its own, and a recipe that draws random numbers into five shards."""
    shutil.copytree(small_models, place / "models")
    write_recipe(place, "dropped", 5, place / "models")
    return place


def problem(ended: Ended) -> dict[str, str]:
    (only,) = ended.report["problems"]
    return only


@pytest.mark.parametrize(
    ("how", "told"),
    [
        pytest.param("cut", "ended early", id="cut: no byte of what is gone is made up"),
        pytest.param("written", "has changed since it was planned", id="written into: its descriptor reads on"),
        pytest.param("replaced", "", id="replaced: the open file is still the planned one"),
        pytest.param("deleted", "", id="deleted: so it is"),
    ],
)
def test_an_input_that_changes_during_the_run_is_never_mixed_with_itself(
    forks: Forks, merge: Path, how: str, told: str
) -> None:
    assert forks.run(merge, *RUN).code == 0
    expected = files_in(merge / "out")
    shutil.rmtree(merge / "out")
    stored = merge / "models" / "base" / "model.safetensors"
    changed = ("change_input", {"how": how, "path": str(stored), "tensors": 9})
    ended = forks.run(merge, *RUN, prepare=(changed,))
    if not told:
        assert ended.code == 0, ended.said
        assert files_in(merge / "out") == expected
        return
    assert ended.code == 1
    assert told in problem(ended)["fact"]
    assert str(stored) in problem(ended)["fact"]
    assert "--overwrite" in problem(ended)["fix"]
    assert not (merge / "out").exists()
    assert forks.run(merge, *RUN).code == 2


def test_after_an_input_was_written_into_the_run_begins_again_with_it(forks: Forks, merge: Path) -> None:
    stored = merge / "models" / "base" / "model.safetensors"
    changed = ("change_input", {"how": "written", "path": str(stored), "tensors": 9})
    assert forks.run(merge, *RUN, prepare=(changed,)).code == 1
    refused = forks.run(merge, *RUN)
    assert refused.code == 2
    assert problem(refused)["why"] == f"it was begun from another {stored}"
    again = forks.run(merge, *RUN, "--overwrite")
    assert (again.code, again.report["resumed"], again.report["computed"]) == (0, 0, again.report["tensors"])
    published = files_in(merge / "out")
    assert forks.run(merge, *RUN, "-o", "fresh").code == 0
    assert files_in(merge / "fresh") == published


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--set", "d.density=0.5", "--overwrite")], ids=str)
def test_a_second_process_is_refused_at_once_and_the_first_is_not_disturbed(
    forks: Forks, merge: Path, options: tuple[str, ...]
) -> None:
    assert forks.run(merge, *RUN, "-o", "reference").code == 0
    pipe = merge / "go"
    os.mkfifo(pipe)
    first = forks.start(merge, *RUN, prepare=(("wait", {"pipe": str(pipe), "tensors": 9}),))
    while not believed(merge / "out.partial").tensors:
        time.sleep(0.002)
    began = time.monotonic()
    second = forks.run(merge, *RUN, *options)
    assert time.monotonic() - began < 10
    assert second.code == 2
    assert problem(second)["fact"] == f"Another run is writing {merge / 'out.partial'}."
    assert f"process {first} on " in problem(second)["why"]
    pipe.write_bytes(b"")
    assert forks.wait(first).code == 0
    assert files_in(merge / "out") == files_in(merge / "reference")


def changed_recipe(old: str, new: str) -> Callable[[Path], None]:
    def change(merge: Path) -> None:
        text = (merge / "merge.yaml").read_text()
        assert old in text
        (merge / "merge.yaml").write_text(text.replace(old, new))

    return change


def changed_input(merge: Path) -> None:
    stored = merge / "models" / "code" / "model-00002-of-00002.safetensors"
    shutil.copy(stored, stored.with_name("copy"))
    stored.rename(merge / "kept")
    stored.with_name("copy").rename(stored)


def restored_input(merge: Path) -> None:
    """The same file, to its inode and its time."""
    (merge / "kept").rename(merge / "models" / "code" / "model-00002-of-00002.safetensors")


def changed_tokenizer(merge: Path) -> None:
    (merge / "models" / "base" / "tokenizer_config.json").write_text('{"other": 1}')


def restored_tokenizer(merge: Path) -> None:
    (merge / "models" / "base" / "tokenizer_config.json").write_text("{}")


def nothing(merge: Path) -> None: ...


RECIPE = "its plan (recipe, seed) is"
COPIED = "its result id (the copied files and the kind of processor are in it) is"


@pytest.mark.parametrize(
    ("change", "restore", "prepare", "told"),
    [
        pytest.param(
            changed_recipe("density: 0.7", "density: 0.6"), changed_recipe("density: 0.6", "density: 0.7"), (), RECIPE,
            id="a number of the recipe",
        ),
        pytest.param(
            changed_recipe("seed: 7", "seed: 8"), changed_recipe("seed: 8", "seed: 7"), (), RECIPE, id="its seed"
        ),
        pytest.param(changed_input, restored_input, (), "it was begun from another ", id="an input"),
        pytest.param(changed_tokenizer, restored_tokenizer, (), COPIED, id="a file that is copied along"),
        pytest.param(
            nothing, nothing, (("pretend_version", {"name": "mergegraph", "version": "99.1"}),),
            "this run's is 99.1 with torch ", id="the engine",
        ),
        pytest.param(
            nothing, nothing, (("pretend_version", {"name": "torch", "version": "99.2"}),),
            "with torch 99.2", id="torch",
        ),
    ],
)  # fmt: skip
def test_what_was_begun_otherwise_is_refused_and_goes_on_as_it_was(
    forks: Forks, merge: Path, count: Count, change: Callable[[Path], None], restore: Callable[[Path], None],
    prepare: tuple[Prepared, ...], told: str,
) -> None:  # fmt: skip
    assert forks.run(merge, *RUN, "-o", "reference").code == 0
    assert forks.run(merge, *RUN, prepare=(("die", {"tensors": 31}),)).code == -9
    before = files_in(merge / "out.partial")
    kept = len(believed(merge / "out.partial").tensors)
    assert kept > 0
    change(merge)
    refused = forks.run(merge, *RUN, prepare=prepare)
    assert refused.code == 2
    assert told in problem(refused)["why"]
    assert "--overwrite" in problem(refused)["fix"]
    assert files_in(merge / "out.partial") == {**before, "lock": b""}
    restore(merge)
    again = forks.run(merge, *RUN)
    redone = again.report["computed"] + again.report["copied"] - (again.report["tensors"] - kept)
    count("resume refused, then gone on with", tried=1, redone=redone, kept=kept)
    assert (again.code, again.report["resumed"], redone) == (0, kept, 0)
    assert files_in(merge / "out") == files_in(merge / "reference")
