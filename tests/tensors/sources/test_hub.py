"""Models of the Hub: what is asked for, what is refused, what faults do, and that no token leaves its server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergegraph.errors import InputError, RunError
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.reader import FileReader
from mergegraph.tensors.sources.access import accessing
from mergegraph.tensors.sources.digest import remote_sha256
from mergegraph.tensors.sources.door import PROBE_BYTES
from tests.tensors.sources.hub_server import TOKEN, HubServer, Repo
from tests.tiny_models import llama_tensors, write_model


@pytest.fixture
def model(hub_server: HubServer, tmp_path: Path) -> Path:
    """`org/name` on the server, with two files of weights; the folder that it was made from."""
    folder = write_model(tmp_path / "made", llama_tensors(), config={"model_type": "llama"}, shards=2)
    hub_server.repos["org/name"] = Repo()
    hub_server.repos["org/name"].commit(folder)
    return folder


def read_all(checkpoint: Checkpoint) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with FileReader({file.path: file.identity for file in checkpoint.files}) as reader:
        for name, tensor in checkpoint.tensors.items():
            buffer = bytearray(tensor.nbytes)
            reader.read_into(tensor.path, tensor.offset, memoryview(buffer))
            contents[name] = bytes(buffer)
    return contents


def refusal(reference: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_checkpoint(reference, folder)
    return str(caught.value)


NAMES = [
    ("org/name", "the id"),
    ("org/name@main", "the id with a branch"),
    ("org/name@{commit}", "the id with a commit"),
    ("hf://org/name", "an address"),
    ("hf://org/name@main", "an address with a branch"),
    ("hf://models/org/name", "an address with its kind"),
    ("{endpoint}/org/name", "the page"),
    ("{endpoint}/org/name/tree/main", "the page of a branch"),
]


@pytest.mark.parametrize(("reference", "_reason"), NAMES, ids=[row[1] for row in NAMES])
def test_a_model_is_read_by_ranges(
    hub_server: HubServer, model: Path, tmp_path: Path, reference: str, _reason: str
) -> None:
    commit = hub_server.repos["org/name"].revisions["main"]
    named = reference.format(commit=commit, endpoint=hub_server.endpoint)
    checkpoint = open_checkpoint(named, tmp_path)
    local = open_checkpoint(str(model), tmp_path)
    assert str(checkpoint.folder) == f"hf://org/name@{commit}"
    assert [file.path for file in checkpoint.files] == [
        f"hf://org/name@{commit}/model-0000{number}-of-00002.safetensors" for number in (1, 2)
    ]
    assert checkpoint.config == local.config
    assert read_all(checkpoint) == read_all(local)
    assert not (tmp_path / "cache").exists(), "nothing is kept on disk"


def test_every_file_is_resolved_once_and_no_byte_is_read_twice(
    hub_server: HubServer, model: Path, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint("org/name", tmp_path)
    probed = sum(min(PROBE_BYTES, file.file_bytes) for file in checkpoint.files)
    assert hub_server.body_bytes["cdn"] == probed, "planning reads headers"
    contents = read_all(checkpoint)
    assert hub_server.body_bytes["cdn"] == probed + sum(map(len, contents.values()))
    resolved = [each for each in hub_server.asked["hub"] if "/resolve/" in each.path and "safetensors" in each.path]
    assert len([each for each in resolved if not each.path.endswith(".json")]) == len(checkpoint.files)


def test_a_subfolder_and_a_file(hub_server: HubServer, tmp_path: Path) -> None:
    write_model(tmp_path / "made" / "unet", llama_tensors())
    hub_server.repos["org/name"] = Repo()
    hub_server.repos["org/name"].commit(tmp_path / "made")
    for reference, subfolder in (
        ("org/name", "unet"),
        ("hf://org/name/unet", None),
        ("hf://org/name@main/unet/model.safetensors", None),
    ):
        checkpoint = open_checkpoint(reference, tmp_path, subfolder)
        assert checkpoint.files[0].path.endswith("/unet/model.safetensors")


def test_an_identity_names_the_bytes(hub_server: HubServer, model: Path, tmp_path: Path) -> None:
    import hashlib

    checkpoint = open_checkpoint("org/name", tmp_path)
    commit = hub_server.repos["org/name"].revisions["main"]
    for file in checkpoint.files:
        name = file.path.rpartition("/")[2]
        content = (model / name).read_bytes()
        assert file.identity == f"hf:org/name@{commit}:{name}:sha256={hashlib.sha256(content).hexdigest()}"
        assert file.file_bytes == len(content)


FAULTS = [
    ({"429": 1}, "", "too many requests, once"),
    ({"503": 2}, "", "not available, twice"),
    ({"reset": 1}, "", "the connection is reset"),
    ({"short": 2}, "", "the body ends early"),
    ({"slow": 1}, "", "the server is slow"),
    ({"503": 99}, "503 Service Unavailable, 6 times in a row", "not available, for good"),
    ({"short": 99}, "the body ended early", "the body always ends early"),
    ({"ignore-range": 99}, "ignores ranges", "the range is ignored"),
    ({"other-range": 99}, "were asked for", "another range is sent"),
    ({"other-length": 99}, "were planned", "the file has another length"),
]


@pytest.mark.parametrize(("faults", "said", "_reason"), FAULTS, ids=[row[2] for row in FAULTS])
def test_a_fault_is_got_over_or_refused(
    hub_server: HubServer, model: Path, tmp_path: Path, faults: dict[str, int], said: str, _reason: str
) -> None:
    checkpoint = open_checkpoint("org/name", tmp_path)
    hub_server.faults = dict(faults)
    if said:
        with pytest.raises(RunError, match=said):
            read_all(checkpoint)
    else:
        assert read_all(checkpoint) == read_all(open_checkpoint(str(model), tmp_path))
        assert set(hub_server.faults.values()) == {0}


def test_an_address_that_expired_is_asked_for_again(hub_server: HubServer, model: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint("org/name", tmp_path)
    hub_server.reset()
    hub_server.signature += 1
    assert read_all(checkpoint) == read_all(open_checkpoint(str(model), tmp_path))
    assert hub_server.requests("hub", "HEAD") == len(checkpoint.files)


def test_a_flipped_bit_is_found_where_the_whole_file_is_read(
    hub_server: HubServer, model: Path, tmp_path: Path
) -> None:
    file = open_checkpoint("org/name", tmp_path).files[0]
    assert remote_sha256(file.path, file.identity, lambda _: None) in file.identity
    hub_server.faults["flip"] = 1
    with pytest.raises(InputError, match="did not arrive as it is stored"):
        remote_sha256(file.path, file.identity, lambda _: None)


class TestTheToken:
    def test_goes_to_the_hub_alone(
        self, hub_server: HubServer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub_server.repos["org/name"].private = True
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        read_all(open_checkpoint("org/name", tmp_path))
        assert all(each.headers.get("authorization") == f"Bearer {TOKEN}" for each in hub_server.asked["hub"])
        assert hub_server.asked["cdn"]
        assert not any("authorization" in each.headers for each in hub_server.asked["cdn"])

    def test_is_in_no_message(
        self, hub_server: HubServer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        checkpoint = open_checkpoint("org/name", tmp_path)
        assert TOKEN not in repr(checkpoint)
        assert "Signature" not in repr(checkpoint)
        for faults in ({"503": 99}, {"ignore-range": 99}):
            hub_server.faults = dict(faults)
            with pytest.raises(RunError) as caught:
                read_all(checkpoint)
            assert TOKEN not in str(caught.value)
            assert "Signature" not in str(caught.value)


class TestWhatIsRefused:
    def test_a_repository_that_is_not_there(self, hub_server: HubServer, tmp_path: Path) -> None:
        text = refusal("org/nothing", tmp_path)
        assert "There is no model org/nothing on the Hub, or it is private." in text
        assert "hf auth login" in text
        assert "./org/nothing" in text

    def test_a_gated_one(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        hub_server.repos["org/name"].gated = True
        text = refusal("org/name", tmp_path)
        assert "org/name is gated, and you have no access to it." in text
        assert f"open {hub_server.endpoint}/org/name, accept the terms, then: hf auth login" in text

    def test_a_revision_that_is_not_there(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        hub_server.repos["org/name"].commit(model, "v1.0")
        text = refusal("org/name@v1.1", tmp_path)
        assert "org/name has no revision v1.1." in text
        assert "it has main, v1.0" in text
        assert "write org/name@v1.0" in text

    def test_a_folder_that_is_not_there(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        assert "org/name has no unet" in refusal("hf://org/name/unet", tmp_path)

    def test_no_network(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        hub_server.faults["api-503"] = 99
        text = refusal("org/name", tmp_path)
        assert "does not answer as it should" in text
        assert "export HF_HUB_OFFLINE=1" in text

    @pytest.mark.parametrize("fault", ["503", "ignore-range"])
    def test_where_the_files_lie_is_named_and_not_the_hub(
        self, hub_server: HubServer, model: Path, tmp_path: Path, fault: str
    ) -> None:
        checkpoint = open_checkpoint("org/name", tmp_path)
        hub_server.faults[fault] = 99
        with pytest.raises(RunError) as caught:
            read_all(checkpoint)
        text = str(caught.value)
        cdn, hub = (server.removeprefix("http://") for server in (hub_server.cdn, hub_server.endpoint))
        assert re.search(rf"{cdn} does not (give|answer)(?s:.*){hub} sends whoever reads its files there", text)
        assert "--download" in text

    def test_an_id_without_an_owner(self, hub_server: HubServer, tmp_path: Path) -> None:
        assert "openai-community/gpt2" in refusal("hf://gpt2", tmp_path)

    def test_a_folder_of_the_same_name_is_asked_about(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        write_model(tmp_path / "org" / "name", llama_tensors())
        text = refusal("org/name", tmp_path)
        assert "write ./org/name for the folder, or hf://org/name for the Hub" in text
        assert open_checkpoint("./org/name", tmp_path).folder == tmp_path / "org" / "name"
        assert str(open_checkpoint("hf://org/name", tmp_path).folder).startswith("hf://")
        with accessing(local=True):
            assert open_checkpoint("org/name", tmp_path).folder == tmp_path / "org" / "name"


class TestTheCache:
    def test_a_file_in_it_is_not_fetched(self, hub_server: HubServer, model: Path, tmp_path: Path) -> None:
        from huggingface_hub import hf_hub_download

        fetched = open_checkpoint("org/name", tmp_path)
        first, second = (file.path.rpartition("/")[2] for file in fetched.files)
        hf_hub_download("org/name", first, endpoint=hub_server.endpoint)
        hub_server.reset()
        checkpoint = open_checkpoint("hf://org/name", tmp_path)
        assert checkpoint.files == fetched.files, "the identity does not depend on where the bytes lie"
        assert read_all(checkpoint) == read_all(open_checkpoint(str(model), tmp_path))
        assert not any(first in each.path for each in hub_server.asked["hub"])
        assert any(second in each.path for each in hub_server.asked["hub"]) or hub_server.asked["cdn"]

    def test_offline_it_is_all_there_is(
        self, hub_server: HubServer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from huggingface_hub import constants, snapshot_download

        snapshot_download("org/name", endpoint=hub_server.endpoint)
        hub_server.reset()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        checkpoint = open_checkpoint("org/name", tmp_path)
        assert read_all(checkpoint) == read_all(open_checkpoint(str(model), tmp_path))
        assert hub_server.asked == {"hub": [], "cdn": []}
        text = refusal("org/other", tmp_path)
        assert "HF_HUB_OFFLINE forbids" in text
        assert "hf download org/other" in text
