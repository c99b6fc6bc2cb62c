"""Opening model references: every layout that is read, the space, the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mergegraph.tensors.checkpoint import open_checkpoint
from tests.tensors.stored_files import SHARDS, names_of, refusal, said, save, save_sharded


class TestLayouts:
    def test_a_folder_with_one_file(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / "m" / "config.json").write_text('{"num_hidden_layers": 2}')
        checkpoint = open_checkpoint("m", tmp_path)
        assert checkpoint.reference == "m"
        assert checkpoint.folder == tmp_path / "m"
        assert checkpoint.is_folder
        assert checkpoint.config == {"num_hidden_layers": 2}
        assert checkpoint.space == "weights"
        assert checkpoint.warnings == ()
        (file,) = checkpoint.files
        status = (tmp_path / "m" / "model.safetensors").stat()
        assert (file.path, file.file_bytes) == (str(tmp_path / "m" / "model.safetensors"), status.st_size)
        assert file.identity == f"file:{status.st_dev},{status.st_ino},{status.st_size},{status.st_mtime_ns}"

    def test_shards_come_file_by_file_then_by_offset(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m", total_size=36)
        checkpoint = open_checkpoint("m", tmp_path)
        assert names_of(checkpoint) == ["z", "a", "b"]
        assert [Path(file.path).name for file in checkpoint.files] == list(SHARDS)
        assert checkpoint.tensors["b"].path == str(tmp_path / "m" / SHARDS[1])
        assert checkpoint.warnings == ()

    def test_a_single_file_keeps_its_parent_as_folder(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "mine.safetensors")
        checkpoint = open_checkpoint("m/mine.safetensors", tmp_path)
        assert (checkpoint.folder, checkpoint.is_folder) == (tmp_path / "m", False)
        assert checkpoint.config == {}

    @pytest.mark.parametrize(
        "name",
        [
            "diffusion_pytorch_model.safetensors",  # diffusers
            "consolidated.safetensors",  # Mistral
            "model.fp16.safetensors",  # only another precision is there
            "anything.safetensors",  # the only file there is
            "model-00001-of-00001.safetensors",  # a complete set of one without an index
        ],
    )
    def test_other_names_of_a_model(self, tmp_path: Path, name: str) -> None:
        save(tmp_path / "m" / name)
        assert names_of(open_checkpoint("m", tmp_path)) == ["a", "b"]

    def test_mistrals_second_copy_and_other_precisions_are_not_read(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors", ["a"])
        save(tmp_path / "m" / "consolidated.safetensors", ["b"])
        save(tmp_path / "m" / "model.fp16.safetensors", ["c"])
        checkpoint = open_checkpoint("m", tmp_path)
        assert names_of(checkpoint) == ["a"]
        assert checkpoint.warnings == ()

    @pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model", "consolidated"])
    def test_each_stem_may_have_an_index_or_a_set_of_shards(self, tmp_path: Path, stem: str) -> None:
        shards = [f"{stem}-{number:05}-of-00002.safetensors" for number in (1, 2)]
        for folder in ("indexed", "shards"):
            for shard, name in zip(shards, ("z", "a"), strict=True):
                save(tmp_path / folder / shard, [name])
        index = {"weight_map": dict(zip(("z", "a"), shards, strict=True))}
        (tmp_path / "indexed" / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
        for folder in ("indexed", "shards"):
            assert names_of(open_checkpoint(folder, tmp_path)) == ["z", "a"]

    def test_mistrals_shards_beside_a_set_with_an_index_are_not_read(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m", total_size=36)
        for number in (1, 2):
            save(tmp_path / "m" / f"consolidated-{number:05}-of-00002.safetensors", [f"layers.{number}"])
        checkpoint = open_checkpoint("m", tmp_path)
        assert names_of(checkpoint) == ["z", "a", "b"]
        assert checkpoint.warnings == ()

    def test_two_sets_of_shards_are_not_guessed_between(self, tmp_path: Path) -> None:
        for name in (*SHARDS, "model-00001-of-00003.safetensors"):
            save(tmp_path / "m" / name)
        assert "not one model by their names" in refusal("m", tmp_path)

    def test_a_complete_set_of_shards_needs_no_index(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / SHARDS[0], ["a"])
        save(tmp_path / "m" / SHARDS[1], ["b"])
        assert names_of(open_checkpoint("m", tmp_path)) == ["a", "b"]

    def test_an_incomplete_set_of_shards_names_what_is_missing(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / SHARDS[1], ["b"])
        assert f"lacks {SHARDS[0]}" in refusal("m", tmp_path)

    def test_a_subfolder_is_opened(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors")
        assert open_checkpoint("m", tmp_path, "unet").folder == tmp_path / "m" / "unet"

    def test_home_and_absolute_and_upward_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save(tmp_path / "m" / "model.safetensors")
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "recipes").mkdir()
        for reference in ("~/m", str(tmp_path / "m"), "../m", "./../m/"):
            assert open_checkpoint(reference, tmp_path / "recipes").folder == tmp_path / "m"

    def test_up_from_a_link_means_what_the_system_means(self, tmp_path: Path) -> None:
        save(tmp_path / "real" / "m" / "model.safetensors", ["right"])
        save(tmp_path / "m" / "model.safetensors", ["wrong"])
        (tmp_path / "real" / "recipes").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real" / "recipes")
        assert names_of(open_checkpoint("../m", tmp_path / "link")) == ["right"]

    def test_one_shard_given_alone_warns(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        checkpoint = open_checkpoint(f"m/{SHARDS[1]}", tmp_path)
        assert "file 2 of the 2" in said(checkpoint.warnings)

    def test_a_file_that_is_not_read_is_said(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m", total_size=36)
        save(tmp_path / "m" / "model-00003-of-00003.safetensors", ["old"])
        checkpoint = open_checkpoint("m", tmp_path)
        assert "not read: model-00003-of-00003.safetensors" in said(checkpoint.warnings)
        assert "old" not in checkpoint.tensors


class TestSpace:
    def test_a_saved_delta_loads_as_a_delta(self, tmp_path: Path) -> None:
        save(tmp_path / "d" / "model.safetensors", metadata={"mergegraph.space": "delta"})
        assert open_checkpoint("d", tmp_path).space == "delta"
        assert open_checkpoint("d/model.safetensors", tmp_path).space == "delta"

    @pytest.mark.parametrize("second", [{"mergegraph.space": "weights"}, {"mergegraph.space": "odd"}, None])
    def test_files_that_disagree_are_refused(self, tmp_path: Path, second: dict[str, str] | None) -> None:
        save(tmp_path / "d" / SHARDS[0], ["a"], metadata={"mergegraph.space": "delta"})
        save(tmp_path / "d" / SHARDS[1], ["b"], metadata=second)
        assert "disagree whether they hold weights or a delta" in refusal("d", tmp_path)


QUANTISED = [
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, (), "gptq"),
    ({"quantization_config": {"quant_method": "awq"}}, (), "awq"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}}, (), "bitsandbytes"),
    ({"quantization_config": {"load_in_8bit": True}}, (), "bitsandbytes"),  # before quant_method existed
    ({"quantization_config": {"quant_method": "fp8"}}, ("a_scale_inv",), "fp8"),  # scaled in blocks
    ({"quantization": {"group_size": 64, "bits": 4}}, (), "mlx"),
]


QUANTISED_BY_NAME = [
    ({"a.qweight", "a.qzeros", "a.scales"}, "GPTQ or AWQ"),
    ({"a.weight", "a.weight.absmax"}, "bitsandbytes"),
    ({"a.weight", "a.weight.quant_map"}, "bitsandbytes"),
    ({"a.weight", "a.SCB"}, "bitsandbytes"),
    ({"a.weight", "a.scales", "a.biases"}, "mlx"),
    ({"a.weight_packed"}, "compressed-tensors"),
]


class TestConfiguration:
    @pytest.mark.parametrize(("names", "method"), QUANTISED_BY_NAME)
    def test_a_quantised_checkpoint_without_a_config_is_told_by_its_names(
        self, tmp_path: Path, names: set[str], method: str
    ) -> None:
        save(tmp_path / "m" / "model.safetensors", sorted(names))
        text = refusal("m", tmp_path)
        assert f"is quantised ({method}), says the name of its tensor a." in text

    @pytest.mark.parametrize(("config", "extra_tensors", "method"), QUANTISED)
    def test_a_quantised_checkpoint_is_refused(
        self, tmp_path: Path, config: dict[str, object], extra_tensors: tuple[str, ...], method: str
    ) -> None:
        save(tmp_path / "m" / "model.safetensors", ["a", *extra_tensors])
        (tmp_path / "m" / "config.json").write_text(json.dumps(config))
        text = refusal("m", tmp_path)
        assert f"is quantised ({method})" in text
        assert "codes with scales" in text

    @pytest.mark.parametrize(
        "config",
        [{"quantization_config": {"quant_method": "fp8"}}, {"quantization_config": None}, {"quantization_config": {}}],
    )
    def test_plain_float8_and_empty_settings_are_fine(self, tmp_path: Path, config: dict[str, object]) -> None:
        save(tmp_path / "m" / "model.safetensors")
        (tmp_path / "m" / "config.json").write_text(json.dumps(config))
        assert open_checkpoint("m", tmp_path).config == config

    @pytest.mark.parametrize(
        ("content", "place", "reason"),
        [
            (b'{"a": 1,\n "b": }', "config.json:2", "Expecting value, at column 7"),
            (b"", "config.json:1", "Expecting value"),
            (b"[]", "config.json:1", "not a JSON object"),
            (b'{"a": "\xff"}', "config.json", "byte 7 is not UTF-8"),
            (b"[" * 100_000, "config.json", "not JSON"),
            (b'{"a":[' + b"[]," * 100_000 + b"[]]}", "config.json", "it packs"),
            (b" " * 10_000_001, "config.json", "it has 10,000,001 bytes, at most 10,000,000 are read"),
        ],
    )
    def test_a_malformed_configuration_says_where(
        self, tmp_path: Path, content: bytes, place: str, reason: str
    ) -> None:
        save(tmp_path / "m" / "model.safetensors")
        (tmp_path / "m" / "config.json").write_bytes(content)
        text = refusal("m", tmp_path)
        assert f"where   {tmp_path / 'm'}/{place}" in text
        assert reason in text
        assert "fix     correct it, or copy the config.json" in text
