"""Whatever stops a run: at the final name is a complete model or nothing, and the next run goes on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import DoesNotFit, MergegraphError, OutputError, RunError
from mergegraph.tensors import disk, kept, partial, writer
from mergegraph.tensors.checksum import block_digests, bytes_per_block, tensor_checksum
from mergegraph.tensors.completed import completed_result_id
from mergegraph.tensors.disk import free_bytes
from mergegraph.tensors.journal import read_journal
from mergegraph.tensors.layout import Layout, TensorSpec, lay_out
from mergegraph.tensors.writer import OutputFolder

RESULT = "7c1e"
SHAPES = {"embed": (11, 13), "norm": (17,), "empty": (0, 5), "up": (19, 7), "head": (13, 23)}
SPECS = [TensorSpec(name, BY_CODE["F32" if name == "norm" else "BF16"], shape) for name, shape in SHAPES.items()]
CONTENTS = {spec.name: bytes((n * 31 + len(spec.name)) % 251 for n in range(spec.nbytes)) for spec in SPECS}
CHECKSUMS = {
    spec.name: tensor_checksum([block_digests(memoryview(CONTENTS[spec.name]), bytes_per_block(spec.dtype))])
    for spec in SPECS
}
TILE_BYTES = 100


def layout_of(files: int) -> Layout:
    layout = lay_out(SPECS, {1: 10**6, 3: 400}[files], {"made_by": "mergegraph"})
    assert len(layout.files) == files
    return layout


@pytest.fixture(params=[1, 3], ids=["one file", "three shards"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return layout_of(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out"


def open_folder(path: Path, layout: Layout, result_id: str = RESULT, **options: bool) -> OutputFolder:
    return OutputFolder.open(path, layout, result_id=result_id, engine="0.1", **options)


def write_tensor(folder: OutputFolder, name: str) -> None:
    content = memoryview(CONTENTS[name])
    for start in reversed(range(0, len(content), TILE_BYTES)):
        folder.write(name, start, content[start : start + TILE_BYTES])
    folder.tensor_done(name, CHECKSUMS[name])


def complete(folder: OutputFolder) -> None:
    """What a run does with a folder, from wherever it stands."""
    for name in SHAPES:
        if name not in folder.finished:
            write_tensor(folder, name)
    for name, content in records().items():
        folder.write_sidecar(name, content)
    folder.write_sidecar("config.json", b"{}")
    folder.finalize()


def save(path: Path, layout: Layout, **options: bool) -> None:
    if completed_result_id(path) == RESULT:
        return
    with open_folder(path, layout, **options) as folder:
        complete(folder)
        folder.publish()


def records() -> dict[str, bytes]:
    """What an output says of itself, as far as the next run reads it."""
    tensors = {name: {"xxh3_128": checksum} for name, checksum in CHECKSUMS.items()}
    return {
        "mergegraph.json": json.dumps({"tensors": tensors}).encode(),
        "mergegraph.run.json": json.dumps({"result_id": RESULT}).encode(),
    }


def expected_files(layout: Layout) -> dict[str, bytes]:
    files = {"config.json": b"{}", **records()}
    index = layout.index_json()
    if index is not None:
        files["model.safetensors.index.json"] = index
    for file in layout.files:
        data = {offset: CONTENTS[name] for name, offset in file.offsets.items()}
        files[file.name] = file.header + b"".join(data[offset] for offset in sorted(data))
    return files


def files_in(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def names_beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def some_model(path: Path, content: bytes = b"of another tool") -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(content)
    return path


# The ordinary course


@pytest.mark.parametrize("sync", [True, False])
def test_a_published_folder_holds_the_files_and_nothing_else(path: Path, layout: Layout, sync: bool) -> None:
    save(path, layout, sync=sync)
    assert files_in(path) == expected_files(layout)
    assert names_beside(path) == ["out"]
    assert completed_result_id(path) == RESULT


def test_nothing_is_at_the_final_name_and_nothing_opens_before_publish(path: Path, layout: Layout) -> None:
    """A laid-out file has a valid header: a single one must not carry a name that loaders open."""
    with open_folder(path, layout) as folder:
        for name in SHAPES:
            assert names_beside(path) == ["out.partial"]
            names = {entry.name for entry in folder.partial.iterdir()}
            assert "model.safetensors" not in names
            assert "model.safetensors.index.json" not in names
            write_tensor(folder, name)
        folder.finalize()
        assert names_beside(path) == ["out.partial"]


def test_files_have_their_full_size_from_the_beginning(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        sizes = [entry.stat().st_size for entry in sorted(folder.partial.iterdir()) if "safetensors" in entry.name]
        assert sizes == [file.file_bytes for file in layout.files]


def test_threads_may_write_at_once(path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "COMMIT_BYTES", 150)
    with open_folder(path, layout, sync=False) as folder:
        threads = [threading.Thread(target=write_tensor, args=(folder, name)) for name in SHAPES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        complete_rest = {name: folder.checksums[name] for name in SHAPES}
        assert complete_rest == CHECKSUMS
        for name, content in records().items():
            folder.write_sidecar(name, content)
        folder.write_sidecar("config.json", b"{}")
        folder.finalize()
        folder.publish()
    assert files_in(path) == expected_files(layout)


def test_no_file_stays_open_when_all_its_tensors_are_recorded(path: Path) -> None:
    """An output may have more shards than a process may open files."""

    def open_shards() -> int:
        links = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        return sum("out.partial" in str(link) and link.suffix == ".safetensors" for link in links)

    with open_folder(path, layout_of(3)) as folder:
        for name in SHAPES:
            write_tensor(folder, name)
        assert open_shards() > 0
        folder.commit()
        assert open_shards() == 0


@pytest.mark.parametrize(
    ("limit", "value"), [("COMMIT_BYTES", 1), ("COMMIT_SECONDS", 0.0)], ids=["after enough bytes", "after enough time"]
)
def test_a_commit_happens_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float) -> None:
    with open_folder(path, layout_of(3)) as folder:
        write_tensor(folder, "embed")
        assert read_journal(folder.partial / "journal").records == []
        monkeypatch.setattr(writer, limit, value)
        write_tensor(folder, "norm")
        recorded = [record["tensor"] for record in read_journal(folder.partial / "journal").records]
        assert recorded == ["embed", "norm"]
        write_tensor(folder, "head")
        recorded = [record["tensor"] for record in read_journal(folder.partial / "journal").records]
        assert recorded == ["embed", "norm", "head"]


def test_data_is_synced_before_the_journal_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def file_of(fd: int) -> str:
        return Path(f"/proc/self/fd/{fd}").readlink().name

    sync, pwrite = os.fdatasync, os.pwrite

    def watched_sync(fd: int) -> None:
        happened.append(f"sync {file_of(fd)}")
        sync(fd)

    def watched_pwrite(fd: int, content: memoryview, offset: int) -> int:
        happened.append(f"write {file_of(fd)}")
        return pwrite(fd, content, offset)

    with open_folder(path, layout_of(3)) as folder:
        for name in ("embed", "norm"):
            write_tensor(folder, name)
        monkeypatch.setattr(os, "fdatasync", watched_sync)
        monkeypatch.setattr(os, "pwrite", watched_pwrite)
        folder.commit()
        monkeypatch.undo()
    first = layout_of(3).files[0].name
    assert happened == [f"sync {first}", "write journal", "sync journal"]


def test_without_sync_no_file_is_synced(path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)
    save(path, layout, sync=False)
    assert files_in(path) == expected_files(layout)


def test_progress_is_shown_and_not_published(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        folder.publish_progress(b"1")
        folder.publish_progress(b"2")
        assert (folder.partial / "progress.json").read_bytes() == b"2"
        complete(folder)
        folder.publish_progress(b"3")
        folder.publish()
        folder.publish_progress(b"4")
    assert files_in(path) == expected_files(layout)
    assert names_beside(path) == ["out"]


def test_finalize_insists_on_every_tensor(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        write_tensor(folder, "up")
        with pytest.raises(AssertionError, match="4 tensors are not done, embed among them"):
            folder.finalize()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda folder: folder.write("norm", 65, memoryview(b"1234")), id="past the tensor's end"),
        pytest.param(lambda folder: folder.write("norm", -1, memoryview(b"1234")), id="before its start"),
        pytest.param(lambda folder: folder.write("up", 0, memoryview(b"1234")), id="into a tensor that is done"),
        pytest.param(lambda folder: folder.tensor_done("up", "0"), id="done twice"),
        pytest.param(lambda folder: folder.write_sidecar("../config.json", b""), id="a sidecar outside"),
        pytest.param(lambda folder: folder.write_sidecar("model.safetensors", b""), id="a sidecar over the tensors"),
        pytest.param(lambda folder: folder.write_sidecar("journal", b""), id="a sidecar over the journal"),
        pytest.param(lambda folder: folder.publish(), id="published before it is complete"),
    ],
)
def test_misuse_is_caught(path: Path, wrong: Callable[[OutputFolder], None]) -> None:
    with open_folder(path, layout_of(1)) as folder:
        write_tensor(folder, "up")
        with pytest.raises(AssertionError):
            wrong(folder)


# Going on


def stop_after(path: Path, layout: Layout, *names: str, **options: bool) -> None:
    """A run that ends in the middle of `head`, with only `names` done."""
    with contextlib.suppress(KeyboardInterrupt), open_folder(path, layout, **options) as folder:
        for name in names:
            write_tensor(folder, name)
        folder.write("head", 0, memoryview(b"not all of it"))
        raise KeyboardInterrupt


def test_a_stopped_run_keeps_what_is_done(path: Path, layout: Layout) -> None:
    stop_after(path, layout, "norm", "empty")
    with open_folder(path, layout) as folder:
        assert folder.resumed
        assert folder.finished == {"norm": CHECKSUMS["norm"], "empty": CHECKSUMS["empty"]}
        complete(folder)
        folder.publish()
    assert files_in(path) == expected_files(layout)


def test_facts_of_a_tensor_come_back(path: Path) -> None:
    stop_after(path, layout_of(3), "norm")
    with open_folder(path, layout_of(3)) as folder:
        folder.tensor_done("empty", CHECKSUMS["empty"], saturated=3)
    with open_folder(path, layout_of(3)) as folder:
        assert folder.finished_facts == {"norm": {}, "empty": {"saturated": 3}}


def test_a_run_that_recorded_nothing_leaves_nothing(tmp_path: Path, layout: Layout) -> None:
    stop_after(tmp_path / "new" / "parents" / "out", layout)
    assert list(tmp_path.iterdir()) == []


def test_parents_are_kept_with_the_partial_folder(tmp_path: Path, layout: Layout) -> None:
    stop_after(tmp_path / "new" / "out", layout, "norm")
    assert names_beside(tmp_path / "new" / "out") == ["out.partial"]


def test_files_of_the_stopped_run_are_not_published(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        write_tensor(folder, "norm")
        folder.write_sidecar("tokenizer.json", b"of other options")
        (folder.partial / "attempts").mkdir()
        (folder.partial / "attempts" / "shard").write_bytes(b"")
        (folder.partial / ".config.json.tmp").write_bytes(b"torn")
    save(path, layout)
    assert files_in(path) == expected_files(layout)


def test_a_finalized_folder_is_gone_on_with_when_it_was_not_published(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        complete(folder)
    with open_folder(path, layout) as folder:
        assert folder.finished == CHECKSUMS
        complete(folder)
        folder.publish()
    assert files_in(path) == expected_files(layout)


@pytest.mark.parametrize("without", [("journal",), ("journal", "lock")])
def test_a_run_stopped_just_before_the_renaming_is_read_back(
    path: Path, layout: Layout, without: tuple[str, ...]
) -> None:
    """The checksums are computed again from the bytes, as the journal is gone."""
    with open_folder(path, layout) as folder:
        complete(folder)
    for name in without:
        (folder.partial / name).unlink()
    with open_folder(path, layout) as folder:
        assert folder.finished == CHECKSUMS


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda shard: shard.unlink(), id="missing"),
        pytest.param(lambda shard: os.truncate(shard, 700), id="shorter"),
        pytest.param(lambda shard: shard.write_bytes(b"\0" * shard.stat().st_size), id="another header"),
    ],
)
def test_a_damaged_shard_means_beginning_again(path: Path, layout: Layout, damage: Callable[[Path], None]) -> None:
    stop_after(path, layout, "norm")
    damage(next(entry for entry in sorted(path.with_name("out.partial").iterdir()) if "safetensors" in entry.name))
    with open_folder(path, layout) as folder:
        assert not folder.resumed
        assert folder.finished == {}
        complete(folder)
        folder.publish()
    assert files_in(path) == expected_files(layout)


@pytest.mark.parametrize("lost", [1, 9], ids=["the newline", "part of the line"])
def test_a_torn_record_is_done_again(path: Path, layout: Layout, lost: int) -> None:
    stop_after(path, layout, "norm", "up")
    journal = path.with_name("out.partial") / "journal"
    os.truncate(journal, read_journal(journal).valid_bytes - lost)
    with open_folder(path, layout) as folder:
        assert set(folder.finished) == {"norm"}


def test_records_without_syncs_do_not_outlive_the_boot(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a power cut the journal may be on disk and the data not; records made with syncs still count."""
    stop_after(path, layout, "norm")
    stop_after(path, layout, "up", sync=False)
    with open_folder(path, layout) as folder:
        assert set(folder.finished) == {"norm", "up"}
    (tmp_path / "boot_id").write_text("another boot\n")
    monkeypatch.setattr(kept, "_BOOT_ID", tmp_path / "boot_id")
    with open_folder(path, layout) as folder:
        assert set(folder.finished) == {"norm"}


@pytest.mark.parametrize(
    ("result_id", "engine", "layout", "told"),
    [
        ("other", "0.1", layout_of(3), r"its result id \(.*\) is 7c1e, this run's is other"),
        (RESULT, "0.2", layout_of(3), "its engine is 0.1, this run's is 0.2"),
        (RESULT, "0.1", layout_of(1), "its layout is"),
    ],
    ids=["result id", "engine", "layout"],
)
def test_a_partial_folder_of_another_result_is_refused_or_overwritten(
    path: Path, result_id: str, engine: str, layout: Layout, told: str
) -> None:
    stop_after(path, layout_of(3), "norm")
    before = files_in(path.with_name("out.partial"))
    with pytest.raises(OutputError, match=told) as refused:
        OutputFolder.open(path, layout, result_id=result_id, engine=engine)
    assert "--overwrite" in str(refused.value)
    assert files_in(path.with_name("out.partial")) == before
    with OutputFolder.open(path, layout, result_id=result_id, engine=engine, overwrite=True) as folder:
        assert not folder.resumed
        assert folder.finished == {}
        complete(folder)
        folder.publish()
    assert files_in(path) == expected_files(layout)


def test_a_complete_unpublished_folder_of_another_result_is_refused(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        complete(folder)
    (folder.partial / "journal").unlink()
    with pytest.raises(OutputError, match=rf"its result id \(.*\) is {RESULT}, this run's is other"):
        open_folder(path, layout, "other")


def test_somebody_elses_folder_is_left_alone(path: Path, layout: Layout) -> None:
    strange = path.with_name("out.partial")
    strange.mkdir()
    (strange / "thesis.txt").write_bytes(b"only copy")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not a partial output"):
            open_folder(path, layout, overwrite=overwrite)
        assert files_in(strange) == {"thesis.txt": b"only copy"}


@pytest.mark.parametrize("name", ["journal", "lock"])
def test_a_file_with_the_name_of_one_of_ours_makes_no_partial_output(path: Path, layout: Layout, name: str) -> None:
    strange = path.with_name("out.partial")
    (strange / "photos").mkdir(parents=True)
    (strange / name).write_text("Dear diary")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not a partial output"):
            open_folder(path, layout, overwrite=overwrite)
    assert [entry.name for entry in sorted(strange.iterdir())] == [name, "photos"]


@pytest.mark.parametrize("name", ["recipe.yaml", "pytorch_model.bin"])
def test_a_folder_that_holds_a_source_is_not_overwritten(path: Path, layout: Layout, name: str) -> None:
    some_model(path)
    (path / name).write_text("only copy")
    with pytest.raises(OutputError, match=f"will not be overwritten.\\n  why     it holds {name}"):
        open_folder(path, layout, overwrite=True)
    assert (path / name).read_text() == "only copy"


def in_model(name: str) -> Callable[[Path], None]:
    return lambda place: (some_model(place) / name).write_text("only copy") and None


KEPT: list[tuple[str, Callable[[Path], object]]] = [
    ("it is no .safetensors file", lambda place: place.write_bytes(b"only copy")),
    ("it holds no .safetensors file", lambda place: (place.mkdir(), (place / "notes.txt").touch())),
    ("it holds the folder inner", lambda place: (some_model(place) / "inner").mkdir()),
    ("it holds recipe.yml, which may be a recipe", in_model("recipe.yml")),
    ("it holds old.pt, which may be pickled weights", in_model("old.pt")),
]


@pytest.mark.parametrize(("why", "make"), KEPT, ids=[row[0] for row in KEPT])
def test_overwrite_is_not_offered_where_it_is_then_refused(
    path: Path, layout: Layout, why: str, make: Callable[[Path], object]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    for overwrite in (False, True):
        with pytest.raises(OutputError) as refused:
            open_folder(path, layout, overwrite=overwrite)
        (problem,) = refused.value.problems
        assert problem.why.endswith(why)
        assert problem.fix == "choose another path, or remove it yourself"


# Killed


class Killer:
    """Kills this process at its n-th call to the file system; half a write may have happened by then."""

    NAMES = ("mkdir", "posix_fallocate", "pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "rmdir")

    def __init__(self, at: int, torn: bool) -> None:
        self.left = at
        self.torn = torn
        self.real = {name: getattr(os, name) for name in self.NAMES}

    def install(self) -> None:
        for name in self.NAMES:
            setattr(os, name, self.killing(name))

    def killing(self, name: str) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.left -= 1
            if self.left < 0:
                if name == "pwrite" and self.torn:
                    fd, content, offset = args
                    self.real[name](fd, content[: len(content) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return self.real[name](*args, **options)

        return call


def killed_at(point: int, torn: bool, work: Callable[[], None]) -> bool:
    """Do `work` in a child that is killed -9 at its `point`-th call. False when it was done before that."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Killer(point, torn).install()
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def points_to_kill(
    work: Callable[[Path], None], folder: Path, *, torn: bool, prepare: Callable[[Path], object] = Path.mkdir
) -> Iterator[Path]:
    for point in range(1000):
        place = folder / str(point)
        prepare(place)
        if not killed_at(point, torn, lambda place=place: work(place)):
            assert point > 40, "the killer has seen the work"
            return
        yield place
    raise AssertionError("the work never ends")


@pytest.fixture
def cheap_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has; the calls stay, as points to kill at."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)


# The child of a fork has one thread and only writes files.
forking = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@forking
@pytest.mark.usefixtures("cheap_syncs")
@pytest.mark.parametrize("torn", [False, True], ids=["before each call", "half-way through each write"])
@pytest.mark.parametrize("files", [1, 3])
def test_killed_anywhere_the_next_run_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, torn: bool
) -> None:
    layout = layout_of(files)
    monkeypatch.setattr(writer, "COMMIT_BYTES", 200)
    expected = expected_files(layout)
    for place in points_to_kill(lambda place: save(place / "out", layout), tmp_path, torn=torn):
        if (place / "out").exists():
            assert files_in(place / "out") == expected, place.name
        save(place / "out", layout)
        assert files_in(place / "out") == expected, place.name
        assert names_beside(place / "out") == ["out"], place.name


@forking
@pytest.mark.usefixtures("cheap_syncs")
@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_while_overwriting_a_whole_model_is_always_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """With exchange, at the final name at every moment; without, the old one may lie beside it for one."""
    layout = layout_of(3)
    if not can_exchange:
        monkeypatch.setattr(disk, "exchange", lambda one, other: False)
    old, new = {"model.safetensors": b"of another tool"}, expected_files(layout)

    def work(place: Path) -> None:
        save(place / "out", layout, overwrite=True)

    for place in points_to_kill(work, tmp_path, torn=False, prepare=lambda place: some_model(place / "out")):
        assert any(files_in(entry) in (old, new) for entry in place.iterdir()), place.name
        if can_exchange:
            assert files_in(place / "out") in (old, new), place.name
        save(place / "out", layout, overwrite=True)
        assert files_in(place / "out") == new, place.name
        left = [name for name in names_beside(place / "out") if name != "out"]
        assert all(name.startswith(("out.replaced-by-mergegraph-", "out.partial")) for name in left), place.name


HOLDER = """
import sys, time
from pathlib import Path
from mergegraph.dtypes import BY_CODE
from mergegraph.tensors.layout import TensorSpec, lay_out
from mergegraph.tensors.writer import OutputFolder
layout = lay_out([TensorSpec("a", BY_CODE["U8"], (5,))], 99, {})
folder = OutputFolder.open(Path(sys.argv[1]), layout, result_id="r", engine="0.1")
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_at_once_until_the_first_is_dead(path: Path, layout: Layout) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=rf"process {holder.pid} on \S+, since 20\d\d-") as refused:
                open_folder(path, layout, overwrite=overwrite)
            assert "Another run is writing" in str(refused.value)
        assert (path.with_name("out.partial") / "model.safetensors.incomplete").exists()
        holder.kill()
    with open_folder(path, layout, overwrite=True) as folder:
        assert not folder.resumed


def test_nobody_enters_a_folder_that_is_about_to_get_its_name(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock file and its journal are removed by then; a run that laid it out anew would have that published."""
    put = writer.put_folder

    def with_a_rival(new: Path, final: Path) -> Path | None:
        with pytest.raises(OutputError, match="Another run is writing"):
            OutputFolder.open(path, layout, result_id="other", engine="0.1", overwrite=True)
        return put(new, final)

    monkeypatch.setattr(writer, "put_folder", with_a_rival)
    save(path, layout)
    assert files_in(path) == expected_files(layout)


def test_the_lock_is_let_go_with_the_folder(path: Path, layout: Layout) -> None:
    stop_after(path, layout, "norm")
    assert (path.with_name("out.partial") / "lock").read_bytes() == b""
    with open_folder(path, layout) as folder:
        assert folder.resumed


# Failing disks


def fail(code: int) -> Callable[..., int]:
    def call(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.ENOSPC, DoesNotFit), (errno.EDQUOT, DoesNotFit), (errno.EIO, RunError)],
    ids=["full disk", "quota", "broken disk"],
)
def test_a_failed_write_says_what_is_kept(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int, error: type[MergegraphError]
) -> None:
    def of_tensors_only(fd: int, content: memoryview, offset: int) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink().name == "journal":
            return pwrite(fd, content, offset)
        raise OSError(code, os.strerror(code))

    pwrite = os.pwrite
    with open_folder(path, layout) as folder:
        write_tensor(folder, "norm")
        write_tensor(folder, "up")
        monkeypatch.setattr(os, "pwrite", of_tensors_only)
        with pytest.raises(error, match="writing head") as raised:
            write_tensor(folder, "head")
    monkeypatch.undo()
    assert type(raised.value) is error
    assert "2 tensors are kept" in str(raised.value)
    assert ("freeing space" in str(raised.value)) == (error is DoesNotFit)
    with open_folder(path, layout) as again:
        assert set(again.finished) == {"norm", "up"}


def test_short_writes_are_gone_on_with(path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: pwrite(fd, bytes(content)[:13], offset))
    save(path, layout)
    assert files_in(path) == expected_files(layout)


def test_a_disk_that_takes_nothing_and_says_nothing_is_an_error(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_folder(path, layout) as folder:
        monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: 0)
        with pytest.raises(RunError, match="writing norm"):
            folder.write("norm", 0, memoryview(b"1234"))


def test_a_disk_that_is_full_at_the_last_small_file_publishes_nothing(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_folder(path, layout) as folder:
        for name in SHAPES:
            write_tensor(folder, name)
        folder.commit()
        monkeypatch.setattr(os, "pwrite", fail(errno.ENOSPC))
        with pytest.raises(DoesNotFit, match="5 tensors are kept"):
            folder.write_sidecar("config.json", b"{}")
    monkeypatch.undo()
    assert names_beside(path) == ["out.partial"]
    assert not (path.with_name("out.partial") / "config.json").exists()
    save(path, layout)
    assert files_in(path) == expected_files(layout)


def test_a_failed_sync_is_final(path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops pages it could not write: a second sync would succeed and the data be lost."""
    with open_folder(path, layout) as folder:
        write_tensor(folder, "norm")
        folder.commit()
        write_tensor(folder, "up")
        monkeypatch.setattr(os, "fdatasync", fail(errno.EIO))
        with pytest.raises(RunError, match="syncing"):
            folder.commit()
        monkeypatch.undo()
        with pytest.raises(RunError, match="1 tensor is kept"):
            folder.commit()
    with open_folder(path, layout) as folder:
        assert set(folder.finished) == {"norm"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_the_files_leaves_nothing(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fail(code))
    with pytest.raises(DoesNotFit, match="KiB"):
        open_folder(tmp_path / "new" / "out", layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_that_cannot_reserve_is_written_all_the_same(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fail(code))
    save(path, layout)
    assert files_in(path) == expected_files(layout)


def test_too_little_space_is_seen_before_anything_is_made(
    tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(Path, "mkdir", lambda place, **options: made.append(place))
    monkeypatch.setattr(partial, "free_bytes", lambda place: layout.file_bytes - 1)
    total = disk_text(layout.file_bytes)
    with pytest.raises(DoesNotFit, match=rf"takes {total}; .* are free"):
        open_folder(tmp_path / "new" / "out", layout)
    assert made == []
    assert list(tmp_path.iterdir()) == []


def disk_text(count: int) -> str:
    return f"{count / 1024:.1f} KiB"


def test_space_taken_by_the_stopped_run_counts_as_there(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(path, layout, "norm")
    monkeypatch.setattr(partial, "free_bytes", lambda place: 0)
    with open_folder(path, layout) as folder:
        assert folder.resumed


def test_free_bytes_of_a_folder_yet_to_be_made_are_those_of_its_disk(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    far = free_bytes(tmp_path / "a" / "b" / "c")
    assert abs(far - facts.f_bavail * facts.f_frsize) < facts.f_bavail * facts.f_frsize / 10


@pytest.mark.parametrize(
    "hindrance",
    [
        pytest.param(lambda place: place.write_bytes(b""), id="a parent is a file"),
        pytest.param(lambda place: place.symlink_to("nowhere"), id="a parent is a dangling link"),
    ],
)
def test_a_path_that_cannot_be_made_is_refused(
    tmp_path: Path, layout: Layout, hindrance: Callable[[Path], None]
) -> None:
    hindrance(tmp_path / "parent")
    with pytest.raises(OutputError, match="cannot be made"):
        open_folder(tmp_path / "parent" / "out", layout)
    assert [entry.name for entry in tmp_path.iterdir()] == ["parent"]


# An output that is there already


def test_an_existing_output_is_refused(path: Path, layout: Layout) -> None:
    some_model(path)
    with pytest.raises(OutputError, match="already exists") as refused:
        open_folder(path, layout)
    assert "--overwrite, or another path" in str(refused.value)
    assert names_beside(path) == ["out"]


def test_an_output_that_appeared_meanwhile_is_not_replaced(path: Path, layout: Layout) -> None:
    with open_folder(path, layout) as folder:
        complete(folder)
        some_model(path)
        with pytest.raises(OutputError, match="already exists"):
            folder.publish()
    assert files_in(path) == {"model.safetensors": b"of another tool"}
    with open_folder(path.with_name("elsewhere"), layout) as folder:
        assert not folder.resumed
    with open_folder(path, layout, overwrite=True) as folder:
        assert folder.finished == CHECKSUMS


@pytest.mark.parametrize("can_exchange", [True, False])
def test_overwriting_replaces_the_whole_folder(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    some_model(path)
    (path / "stale.json").write_bytes(b"{}")
    if not can_exchange:
        monkeypatch.setattr(disk, "exchange", lambda one, other: False)
    with open_folder(path, layout, overwrite=True) as folder:
        complete(folder)
        assert files_in(path) == {"model.safetensors": b"of another tool", "stale.json": b"{}"}
        folder.publish()
    assert files_in(path) == expected_files(layout)
    assert names_beside(path) == ["out"]


def test_what_a_stopped_run_moved_aside_is_deleted_by_the_next_that_overwrites(path: Path, layout: Layout) -> None:
    """And nothing that only looks like it."""
    some_model(path)
    some_model(path.with_name("out.replaced-by-mergegraph-0123abcd"))
    others = ("another.replaced-by-mergegraph-0123abcd", "out.old-20261127", "out.replaced-by-mergegraph-0123abcde")
    for name in others:
        some_model(path.with_name(name))
    save(path, layout, overwrite=True)
    assert files_in(path) == expected_files(layout)
    assert names_beside(path) == sorted(["out", *others])


def test_names_are_exchanged_in_one_step_on_linux(tmp_path: Path) -> None:
    one, other = some_model(tmp_path / "one", b"1"), some_model(tmp_path / "other", b"2")
    assert disk.exchange(one, other) == (sys.platform == "linux")
    assert files_in(other) == {"model.safetensors": b"1"}
    with pytest.raises(FileNotFoundError):
        disk.exchange(one, tmp_path / "missing")


def test_when_the_new_folder_cannot_take_the_name_the_old_one_gets_it_back(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_model(path)
    rename = Path.rename
    monkeypatch.setattr(disk, "exchange", lambda one, other: False)

    def only_the_old(self: Path, target: Path) -> Path:
        return fail(errno.EIO)() if self.name == "out.partial" else rename(self, target)

    monkeypatch.setattr(Path, "rename", only_the_old)
    with pytest.raises(RunError, match="renaming"):
        save(path, layout, overwrite=True)
    monkeypatch.undo()
    assert files_in(path) == {"model.safetensors": b"of another tool"}
    with open_folder(path, layout, overwrite=True) as folder:
        assert folder.finished == CHECKSUMS


def test_overwriting_a_link_leaves_what_it_points_to(path: Path, layout: Layout) -> None:
    path.symlink_to(some_model(path.with_name("kept")))
    save(path, layout, overwrite=True)
    assert files_in(path) == expected_files(layout)
    assert files_in(path.with_name("kept")) == {"model.safetensors": b"of another tool"}


def home(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_bytes(b"only copy")


@pytest.mark.parametrize(
    "precious",
    [
        pytest.param(home, id="a folder without a model"),
        pytest.param(lambda place: place.write_bytes(b"only copy"), id="a file that is no model"),
    ],
)
def test_overwrite_does_not_reach_what_is_no_model(
    path: Path, layout: Layout, precious: Callable[[Path], None]
) -> None:
    precious(path)
    with pytest.raises(OutputError, match="will not be overwritten"):
        open_folder(path, layout, overwrite=True)
    assert names_beside(path) == ["out"]


def test_overwrite_does_not_reach_the_current_folder(
    path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(some_model(path))
    with pytest.raises(OutputError, match="holds the current folder"):
        open_folder(Path(), layout, overwrite=True)


def test_a_folder_with_a_lock_of_somebody_else_is_not_taken_for_a_partial_output(path: Path, layout: Layout) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.mkdir(parents=True)
    (partial / "lock").write_text("mine")
    (partial / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match="not a partial output"):
        open_folder(path, layout)
    assert (partial / "notes.txt").read_text() == "precious"


def test_overwrite_replaces_no_folder_that_holds_folders(path: Path, layout: Layout) -> None:
    (path / "other").mkdir(parents=True)
    (path / "stray.safetensors").touch()
    with pytest.raises(OutputError, match="will not be overwritten"):
        open_folder(path, layout, overwrite=True)
    assert (path / "other").is_dir()


def test_a_link_to_itself_at_the_output_is_refused_even_to_overwrite(path: Path, layout: Layout) -> None:
    path.symlink_to(path)
    with pytest.raises(OutputError, match="will not be overwritten"):
        open_folder(path, layout, overwrite=True)
    assert path.is_symlink()
