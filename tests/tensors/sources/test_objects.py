"""Objects of S3: read by ranges of one version, and written so that nothing half-done is seen."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mergegraph.errors import InputError, OutputError, RecipeError, RunError
from mergegraph.plan import output_paths
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.tensors.completed import PROVENANCE, RUN_RECORD
from mergegraph.tensors.sources import objects, uploads
from mergegraph.tensors.sources.objects import missing_extra, store_of
from mergegraph.tensors.sources.traffic import traffic
from mergegraph.tensors.sources.uploads import UPLOADING, deliver, part_bytes, result_id_at, standing_at, upload_id_at
from tests.plan.small_plans import planned, vector
from tests.tensors.sources.object_server import SECRET, environment, free_port, serving
from tests.tensors.sources.test_hub import read_all
from tests.tiny_models import llama_tensors, write_model

pytest.importorskip("moto", reason="moto's server stands in for S3")
obstore: Any = pytest.importorskip("obstore", reason="obstore reads object stores")


@pytest.fixture(scope="module")
def endpoint() -> Generator[str]:
    with serving() as running:
        yield running


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://…`, new and empty."""
    from urllib.request import Request, urlopen

    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    objects._stores.clear()
    name = f"b{uuid.uuid4().hex[:12]}"
    with urlopen(Request(f"{endpoint}/{name}", method="PUT")):
        return f"s3://{name}"


def put(bucket: str, folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        obstore.put(store_of(bucket), f"{prefix}/{path.name}", path.read_bytes())


def test_a_model_is_read_by_ranges_and_counted(bucket: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_tensors(), config={"model_type": "llama"}, shards=2)
    put(bucket, folder, "models/one")
    before = traffic().get(bucket)
    assert before is None
    checkpoint = open_checkpoint(f"{bucket}/models/one/", tmp_path)
    contents = read_all(checkpoint)
    assert contents == read_all(open_checkpoint(str(folder), tmp_path))
    small = sum((folder / name).stat().st_size for name in ("config.json", "model.safetensors.index.json"))
    headers = sum(file.file_bytes for file in checkpoint.files)
    assert traffic()[bucket].body_bytes == small + headers + sum(map(len, contents.values()))
    assert all(file.identity.startswith(f"s3:{file.path.removeprefix('s3://')}:etag=") for file in checkpoint.files)


def test_an_object_that_was_replaced_is_noticed(bucket: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", llama_tensors(seed=1))
    put(bucket, folder, "m")
    checkpoint = open_checkpoint(f"{bucket}/m/model.safetensors", tmp_path)
    put(bucket, write_model(tmp_path / "n", llama_tensors(seed=2)), "m")
    with pytest.raises(RunError, match=r"has changed since it was planned\.(?s:.)*--overwrite"):
        read_all(checkpoint)


REFUSED = [
    ("{bucket}/nothing", "has no .safetensors file", "an empty prefix"),
    ("{bucket}/x.safetensors", "there is no such object", "no such object"),
    ("s3://no-such-bucket-here/m", "there is no such bucket", "no such bucket"),
    ("s3://", "names no model", "no bucket"),
    ("az:///", "names no model", "no bucket and no name"),
    ("s3:///key", "names no bucket", "no bucket before a key"),
    ("s3://bucket:99/m", "is no name of a bucket", "a port"),
    ("s3://a bucket/m", "is no name of a bucket", "a space"),
    ("s3://[::1/m", "brackets are not closed", "half an address"),
    ("{bucket}/a/../b", "empty, . or ..", "a folder above"),
    ("{bucket}/a//b", "empty, . or ..", "two slashes"),
    ("{bucket}/a\x01b", "a control character", "a control character"),
]


@pytest.mark.parametrize(("reference", "said", "_reason"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_not_there(bucket: str, tmp_path: Path, reference: str, said: str, _reason: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_checkpoint(reference.format(bucket=bucket), tmp_path)
    assert SECRET not in str(caught.value)


def test_a_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in environment(f"http://127.0.0.1:{free_port()}").items():
        monkeypatch.setenv(name, value)
    objects._stores.clear()
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL says that it is http://127(?s:.*)curl -I http://127"):
        open_checkpoint("s3://unreachable/m", tmp_path)


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("boto3", reason="boto3 reads profiles")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    objects._stores.clear()
    with pytest.raises(InputError, match=r"The AWS profile nosuch gives no credentials\.(?s:.*)list-profiles"):
        open_checkpoint("s3://profiles/m", tmp_path)


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(objects, "import_module", absent)
    objects._stores.clear()
    with pytest.raises(InputError) as caught:
        open_checkpoint("gs://bucket/model", tmp_path)
    assert caught.value.problems[0].fix == missing_extra("").fix == 'pip install "mergegraph[cloud]"'


def stop_before_the_record(folder: Path, destination: str) -> None:
    """An upload that is stopped when all but mergegraph.json is there."""
    left = len(list(folder.iterdir()))

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(folder, destination, overwrite=False, tick=tick)


LEFT_BY_OTHERS = [
    ({"model-00002-of-00002.safetensors": b"theirs"}, "a file of a name that the output has"),
    ({"notes.txt": b"theirs"}, "a file of another name"),
    ({UPLOADING: b'{"result_id": "r2"}', "config.json": b"{}"}, "an upload of another result"),
    ({UPLOADING: b"[" * 100_000}, "a mark that is none"),
    ({PROVENANCE: b"{}", RUN_RECORD: b'{"result_id": "r2"}'}, "a finished output"),
]


class TestDelivering:
    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        """A folder as a run leaves it; the first file takes three parts."""
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "model-00001-of-00002.safetensors").write_bytes(os.urandom((17 << 20) + 5))
        (folder / "model-00002-of-00002.safetensors").write_bytes(os.urandom(1000))
        (folder / "model.safetensors.index.json").write_text("{}")
        (folder / RUN_RECORD).write_text(json.dumps({"result_id": "r1"}))
        (folder / PROVENANCE).write_text("{}")
        return folder

    def test_all_is_there_and_as_it_was(self, bucket: str, output: Path) -> None:
        deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)
        store = store_of(bucket)
        for path in output.iterdir():
            assert bytes(obstore.get(store, f"o/{path.name}").bytes()) == path.read_bytes()
        assert obstore.head(store, "o/model-00001-of-00002.safetensors")["e_tag"].strip('"').endswith("-3")
        names = standing_at(f"{bucket}/o")
        assert result_id_at(f"{bucket}/o", names) == "r1"

    def test_a_stopped_upload_goes_on_and_sends_only_what_is_missing(self, bucket: str, output: Path) -> None:
        stop_before_the_record(output, f"{bucket}/o")
        names = standing_at(f"{bucket}/o")
        assert result_id_at(f"{bucket}/o", names) == "", "without its record it is not finished"
        assert upload_id_at(f"{bucket}/o", names) == "r1"
        before = traffic()[bucket].requests
        deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)
        assert traffic()[bucket].requests - before == 4, "a listing, the mark, the record, the mark's removal"
        assert standing_at(f"{bucket}/o").keys() == {path.name for path in output.iterdir()}

    @pytest.mark.parametrize(("left", "_reason"), LEFT_BY_OTHERS, ids=[row[1] for row in LEFT_BY_OTHERS])
    def test_what_others_left_is_replaced_only_when_asked(
        self, bucket: str, output: Path, left: dict[str, bytes], _reason: str
    ) -> None:
        for name, content in left.items():
            obstore.put(store_of(bucket), f"o/{name}", content)
        with pytest.raises(OutputError, match="no upload of this output has left what lies there now"):
            deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)
        assert standing_at(f"{bucket}/o").keys() == left.keys()
        for name, content in left.items():
            assert bytes(obstore.get(store_of(bucket), f"o/{name}").bytes()) == content
        deliver(output, f"{bucket}/o", overwrite=True, tick=lambda: None)
        assert result_id_at(f"{bucket}/o", standing_at(f"{bucket}/o")) == "r1"

    def test_what_came_after_the_listing_is_not_replaced(
        self, bucket: str, output: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        obstore.put(store_of(bucket), f"o/{UPLOADING}", b'{"result_id": "r2"}')
        listings = iter([{}, standing_at(f"{bucket}/o")])
        monkeypatch.setattr(uploads, "standing_at", lambda destination: next(listings))
        with pytest.raises(OutputError, match=r"what lies there now: mergegraph\.upload\.json"):
            deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)
        monkeypatch.undo()

    def test_the_record_comes_last_and_is_never_replaced_unasked(
        self, bucket: str, output: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order = [path.name for path in uploads._ordered(list(output.iterdir()))]
        assert order[-3:] == ["model.safetensors.index.json", RUN_RECORD, PROVENANCE]
        listed = standing_at(f"{bucket}/o")
        obstore.put(store_of(bucket), f"o/{PROVENANCE}", b"another run's")
        monkeypatch.setattr(uploads, "standing_at", lambda destination: listed)
        with pytest.raises(OutputError, match="another run finished it"):
            deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)

    def test_overwriting_removes_what_is_no_part_of_it(self, bucket: str, output: Path) -> None:
        deliver(output, f"{bucket}/o", overwrite=False, tick=lambda: None)
        obstore.put(store_of(bucket), "o/notes.txt", b"mine")
        (output / "model-00002-of-00002.safetensors").rename(output / "model-00003-of-00003.safetensors")
        deliver(output, f"{bucket}/o", overwrite=True, tick=lambda: None)
        names = standing_at(f"{bucket}/o").keys()
        assert "model-00002-of-00002.safetensors" not in names
        assert {"notes.txt", PROVENANCE, "model-00003-of-00003.safetensors"} <= names


TOUCHED = [
    ("{bucket}/models/a", 'The output is an input: "a".', "an input itself"),
    ("{bucket}/models/a/merged", 'The output lies inside an input: "a".', "inside an input"),
    ("{bucket}/models", 'The output would replace a folder that holds an input: "a".', "around an input"),
    ("{bucket}/single", 'The output would replace a folder that holds an input: "b".', "around a file that is read"),
]


@pytest.mark.parametrize(("path", "said", "_reason"), TOUCHED, ids=[row[2] for row in TOUCHED])
def test_an_output_touches_no_input_in_a_bucket(
    bucket: str, tmp_path: Path, path: str, said: str, _reason: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        planned(
            tmp_path, two_models(bucket, tmp_path) + f"o: {{op: save, input: m, path: {path.format(bucket=bucket)}}}"
        )
    assert said in str(caught.value)


SAME = [
    ("s3://b/m/a", "https://b.s3.amazonaws.com/m/a", "the bucket as a host"),
    ("s3://b/m/a", "https://b.s3.eu-west-1.amazonaws.com/m/a", "the bucket as a host of a region"),
    ("s3://b/m/a", "https://s3.eu-west-1.amazonaws.com/b/m/a", "the bucket as a folder"),
    ("s3://b/m/a", "http://127.0.0.1:9000/b/m/a", "the service that AWS_ENDPOINT_URL names"),
    ("gs://b/m/a", "https://storage.googleapis.com/b/m/a", "a page of Google's"),
    ("az://b/m/a", "https://account.blob.core.windows.net/b/m/a", "a page of Azure's"),
    ("az://b/m/a", "abfss://b@account.dfs.core.windows.net/m/a", "Azure's other name for it"),
]


@pytest.mark.parametrize(("one", "other", "_reason"), SAME, ids=[row[2] for row in SAME])
def test_one_place_is_known_by_each_of_its_addresses(
    monkeypatch: pytest.MonkeyPatch, one: str, other: str, _reason: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
    assert output_paths._keys(one) == output_paths._keys(other)
    assert output_paths._keys(one) != output_paths._keys("https://example.org/b/m/a")


def test_two_outputs_lie_beside_each_other_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    saves = "o: {{op: save, input: m, path: {0}/out}}\np: {{op: save, input: m, path: {0}/out{1}}}"
    nodes = two_models(bucket, tmp_path)
    with pytest.raises(RecipeError, match='Two saves meet in a bucket: "o" and "p"'):
        planned(tmp_path, nodes + saves.format(bucket, "/p"))
    with pytest.raises(RecipeError, match="Two saves go to one path"):
        planned(tmp_path, nodes + saves.format(bucket, ""))
    goals = [output.destination for output in planned(tmp_path, nodes + saves.format(bucket, "-p")).outputs]
    assert goals == [f"{bucket}/out", f"{bucket}/out-p"]


def two_models(bucket: str, tmp_path: Path) -> str:
    """Nodes that read a folder and a file of the bucket."""
    put(bucket, write_model(tmp_path / "here/a", {"w": vector(1)}), "models/a")
    put(bucket, write_model(tmp_path / "here/b", {"w": vector(2)}), "single")
    files = f"b: {{op: load, model: {bucket}/single/model.safetensors}}"
    return f"a: {{op: load, model: {bucket}/models/a/}}\n{files}\nm: {{op: soup, inputs: [a, b]}}\n"


@pytest.mark.parametrize("file_bytes", [0, 5 << 20, 72 << 30, 73 << 30, 5 << 40])
def test_a_file_has_at_most_ten_thousand_parts_of_five_mebibytes_or_more(file_bytes: int) -> None:
    assert part_bytes(file_bytes) >= 5 << 20
    assert -(-file_bytes // part_bytes(file_bytes)) <= 10_000
