"""The index of a sharded checkpoint: traps, disagreements with the shards, and links that lead out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mergegraph.errors import InputError
from mergegraph.tensors import index as index_module
from mergegraph.tensors.adapter import open_adapter
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.tensors.stored_files import INDEX, SHARDS, names_of, refusal, said, save, save_index, save_sharded

INDEX_TRAPS: list[tuple[str, object, str]] = [
    # weight_map, what is said, reason
    ("leads up", {"a": "../secret/other.safetensors"}, "only name .safetensors files inside its own folder"),
    ("is absolute", {"a": "/etc/other.safetensors"}, "inside its own folder"),
    ("leads up on Windows", {"a": "..\\other.safetensors"}, "inside its own folder"),
    ("is a Windows drive", {"a": "C:other.safetensors"}, "inside its own folder"),
    ("is a Windows share", {"a": "\\\\host\\share\\other.safetensors"}, "inside its own folder"),
    ("leads down and up", {"a": "x/../../other.safetensors"}, "inside its own folder"),
    ("is no safetensors file", {"a": "model.bin"}, "inside its own folder"),
    ("is only an extension away", {"a": "model.safetensors.bin"}, "inside its own folder"),
    ("has a NUL", {"a": "a\0.safetensors"}, "inside its own folder"),
    ("is a number", {"a": 7}, "maps no tensors to files"),
    ("is a list", ["a"], "maps no tensors to files"),
    ("is empty", {}, "maps no tensors to files"),
    ("is half a surrogate pair", {"a": "\ud800.safetensors"}, "half of a surrogate pair"),
    ("is missing", {"a": SHARDS[0], "b": SHARDS[1], "c": "model-00009-of-00009.safetensors"}, "00009.safetensors is m"),
    ("does not hold the tensor", {"a": SHARDS[1], "z": SHARDS[0], "b": SHARDS[1]}, f"it is in {SHARDS[0]}"),
    ("holds no such tensor", {"a": SHARDS[0], "b": SHARDS[1], "ghost": SHARDS[1]}, f"{SHARDS[1]} holds ghost"),
]


class TestIndex:
    @pytest.mark.parametrize(
        ("_reason", "weight_map", "message"), INDEX_TRAPS, ids=[f"a name that {row[0]}" for row in INDEX_TRAPS]
    )
    def test_a_trap_is_refused(self, tmp_path: Path, _reason: str, weight_map: object, message: str) -> None:
        save(tmp_path / "secret" / "other.safetensors", ["a"])
        save_sharded(tmp_path / "m")
        save_index(tmp_path / "m", weight_map)
        assert message in refusal("m", tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', '"a" is there twice'),
            (b"\xff\xfe{}", "not UTF-8"),
            (b'{"weight_map": ', "line 1, column"),
            (b"[" * 100_000, "nested too deep"),
            (b"[]", "maps no tensors"),
        ],
    )
    def test_a_text_that_is_no_index_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        save_sharded(tmp_path / "m")
        (tmp_path / "m" / INDEX).write_bytes(content)
        assert message in refusal("m", tmp_path)

    def test_an_index_over_the_cap_is_not_parsed(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        os.truncate(tmp_path / "m" / INDEX, index_module.MOST_INDEX_BYTES + 1)
        assert "at most 100,000,000 are read" in refusal("m", tmp_path)

    def test_an_index_over_the_cap_that_was_asked_for_is_not_parsed(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        index = tmp_path / "m" / INDEX
        index.write_text(index.read_text() + " " * 2000)
        with pytest.raises(InputError, match=r"has an index of 2,\d\d\d bytes; at most 2,000 are read") as caught:
            open_checkpoint("m", tmp_path, max_header_bytes=2000)
        assert "--max-header-mb 1" in str(caught.value)
        assert names_of(open_checkpoint("m", tmp_path, max_header_bytes=4000)) == ["z", "a", "b"]

    def test_an_index_that_would_take_many_times_its_bytes_is_not_parsed(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        (tmp_path / "m" / INDEX).write_text('{"weight_map":[' + "[]," * 100_000 + "[]]}")
        assert "it packs" in refusal("m", tmp_path)

    def test_a_pipe_in_its_place_does_not_hang(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        (tmp_path / "m" / INDEX).unlink()
        os.mkfifo(tmp_path / "m" / INDEX)
        assert "not a regular file" in refusal("m", tmp_path)

    def test_every_missing_shard_is_named_with_its_tensors(self, tmp_path: Path) -> None:
        save_index(tmp_path / "m", {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[1]})
        message = refusal("m", tmp_path)
        assert f"{SHARDS[0]} is missing" in message
        assert f"{SHARDS[1]} is missing" in message
        assert "says that it holds 2 tensors" in message

    def test_an_orphan_is_read_with_a_warning(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        save_index(tmp_path / "m", {"a": SHARDS[0], "b": SHARDS[1]})
        checkpoint = open_checkpoint("m", tmp_path)
        assert names_of(checkpoint) == ["z", "a", "b"]
        assert "leaves out z" in said(checkpoint.warnings)

    def test_one_name_in_two_shards_is_refused(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        save(tmp_path / "m" / SHARDS[1], ["b", "a"])
        assert f"{SHARDS[0]} and {SHARDS[1]} both hold a" in refusal("m", tmp_path)

    @pytest.mark.parametrize("total_size", [35, "36", -1, 1e300, True, [36]])
    def test_a_wrong_total_size_is_only_a_warning(self, tmp_path: Path, total_size: object) -> None:
        save_sharded(tmp_path / "m", total_size=total_size)
        assert "its files hold 36 bytes" in said(open_checkpoint("m", tmp_path).warnings)

    def test_a_total_size_written_as_a_float_is_right(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m", total_size=36.0)
        assert open_checkpoint("m", tmp_path).warnings == ()

    def test_an_index_and_one_file_that_disagree_are_refused(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        save(tmp_path / "m" / "model.safetensors", ["a", "b", "old"])
        message = refusal("m", tmp_path)
        assert "they disagree" in message
        assert "old" in message

    def test_an_index_and_one_file_of_other_shapes_disagree(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        save(tmp_path / "m" / "model.safetensors", ["a", "b", "z"], length=5)
        assert "they disagree" in refusal("m", tmp_path)

    def test_an_index_and_one_file_that_agree_warn(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m", total_size=36)
        save(tmp_path / "m" / "model.safetensors", ["a", "b", "z"])
        checkpoint = open_checkpoint("m", tmp_path)
        assert len(checkpoint.files) == 2
        assert "the files of the index are read" in said(checkpoint.warnings)

    def test_an_index_of_the_one_file_is_no_second_model(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors", ["a", "b"])
        save_index(tmp_path / "m", {"a": "model.safetensors", "b": "model.safetensors"})
        assert open_checkpoint("m", tmp_path).warnings == ()

    def test_all_problems_are_reported_together(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        for shard in SHARDS:
            os.truncate(tmp_path / "m" / shard, (tmp_path / "m" / shard).stat().st_size - 1)
        (tmp_path / "m" / "config.json").write_text("{")
        with pytest.raises(InputError) as caught:
            open_checkpoint("m", tmp_path)
        assert len(caught.value.problems) == 3


class TestLinks:
    def test_a_link_out_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        save(tmp_path / "private" / "w.safetensors")
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "model.safetensors").symlink_to(tmp_path / "private" / "w.safetensors")
        message = refusal("m", tmp_path)
        assert "leads out of its folder" in message
        assert f"name the folder that it leads to: {tmp_path / 'private'}" in message

    @pytest.mark.parametrize("name", [INDEX, SHARDS[0], "model.safetensors", "config.json"])
    def test_no_file_of_a_model_may_be_a_link_out(self, tmp_path: Path, name: str) -> None:
        save_sharded(tmp_path / "m")
        save(tmp_path / "m" / "model.safetensors", ["a", "b", "z"])
        (tmp_path / "m" / "config.json").write_text("{}")
        (tmp_path / "m" / name).rename(tmp_path / "secret")
        (tmp_path / "m" / name).symlink_to("../secret")
        assert f"{name} is a link that leads out of its folder, to {tmp_path / 'secret'}" in refusal("m", tmp_path)

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    def test_no_file_of_an_adapter_may_be_a_link_out(self, tmp_path: Path, name: str) -> None:
        save(tmp_path / "lora" / "adapter_model.safetensors")
        (tmp_path / "lora" / "adapter_config.json").write_text("{}")
        (tmp_path / "lora" / name).rename(tmp_path / "secret")
        (tmp_path / "lora" / name).symlink_to("../secret")
        with pytest.raises(InputError, match=f"{name} is a link that leads out of its folder"):
            open_adapter("lora", tmp_path)

    def test_a_folder_of_shards_may_not_be_a_link_out(self, tmp_path: Path) -> None:
        save(tmp_path / "secret" / "w.safetensors", ["a"])
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "parts").symlink_to(tmp_path / "secret")
        save_index(tmp_path / "m", {"a": "parts/w.safetensors"})
        assert "leads out of its folder" in refusal("m", tmp_path)

    def test_an_index_that_leads_to_a_device_ends(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / SHARDS[0])
        (tmp_path / "m" / INDEX).symlink_to("/dev/zero")
        assert "leads out of its folder" in refusal("m", tmp_path)

    @pytest.mark.parametrize(
        ("target", "told"),
        [
            ("{name}", "it leads back to itself"),
            ("circle", "it leads back to itself"),
            ("../gone", "it leads to {folder}/gone, which is not there"),
            ("../models--a--b/blobs/gone", "it leads to {folder}/models--a--b/blobs/gone, which is not there"),
        ],
        ids=["to itself", "in a circle", "out of the folder, to nothing", "to a blob of the Hub's cache that is gone"],
    )
    @pytest.mark.parametrize(
        "name", [INDEX, SHARDS[0], "config.json", "adapter_config.json", "adapter_model.safetensors"]
    )
    def test_a_link_that_leads_nowhere_is_no_missing_file(
        self, tmp_path: Path, name: str, target: str, told: str
    ) -> None:
        save_sharded(tmp_path / "m")
        for file in ("config.json", "adapter_config.json"):
            (tmp_path / "m" / file).write_text("{}")
        save(tmp_path / "m" / "adapter_model.safetensors")
        path = tmp_path / "m" / name
        path.unlink()
        path.symlink_to(target.format(name=name))
        (tmp_path / "m" / "circle").symlink_to(name)
        with pytest.raises(InputError) as caught:
            (open_adapter if name.startswith("adapter_") else open_checkpoint)("m", tmp_path)
        (problem,) = [each for each in caught.value.problems if each.severity == "error"]
        assert problem.fact == f"{path} is a link that leads nowhere."
        assert problem.why == told.format(folder=tmp_path)
        assert problem.fix == f"rm {path}\nand download the file again"

    def test_the_hubs_cache_is_read_through_its_links(self, tmp_path: Path) -> None:
        cache = tmp_path / "models--org--name"
        save(cache / "blobs" / "0123abcd")
        snapshot = cache / "snapshots" / "f00"
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to("../../blobs/0123abcd")
        assert names_of(open_checkpoint(str(snapshot), tmp_path)) == ["a", "b"]
        assert str(snapshot) in refusal("models--org--name", tmp_path)  # offered for the cache's own folder

    def test_a_link_to_the_folder_and_one_inside_it_are_followed(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "weights" / "w.bytes")
        (tmp_path / "m" / "model.safetensors").symlink_to("weights/w.bytes")
        (tmp_path / "alias").symlink_to(tmp_path / "m")
        assert names_of(open_checkpoint("alias", tmp_path)) == ["a", "b"]

    def test_a_link_to_nothing_says_where_it_leads(self, tmp_path: Path) -> None:
        (tmp_path / "m").symlink_to(tmp_path / "gone")
        assert f"is a link that leads to {tmp_path / 'gone'}, which is not there" in refusal("m", tmp_path)
