"""References that lead nowhere, and what people give for a model that is none: what is said of each."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mergegraph.errors import InputError
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.tensors.stored_files import INDEX, refusal, said, save, save_sharded

NOWHERE = [
    ("models/lama", ["did you mean ./models/llama, which is here?"], "one letter is missing"),
    ("./models/lama", ["Did you mean ./models/llama?"], "one letter of a path is missing"),
    ("./moddels/llama", ["Did you mean models?"], "a folder above it is misspelt"),
    ("./empty/m", ["name the folder of a model; there is nothing in"], "a folder above it is empty"),
    ("./zzz", ["in ", "models"], "nothing is near: what there is"),
    ("$HOME/models/llama", ["$ is taken as it stands", "write out the folder"], "a variable of the shell"),
    ("./models/*", ["* is taken as it stands", "write out the folder"], "a pattern"),
    ("org/name", ["HF_HUB_OFFLINE forbids", "hf download org/name"], "an id of the Hub, offline"),
    ("org/name@v1", ["hf download org/name --revision v1"], "an id with a revision, offline"),
    ("hf://org/name@v1", ["hf download org/name --revision v1"], "a Hub address, offline"),
    ("hf://name", ["names no owner", "hf://org/name"], "a Hub address without an owner"),
    ("hf://datasets/org/name", ["is a dataset of the Hub", "hf://org/name"], "an address of a data set"),
    (
        "gpt2",
        ["There is no folder or file", "fix     write openai-community/gpt2"],
        "a model of the Hub without an owner",
    ),
    (
        "mistral",
        ["There is no folder or file", "with its owner: org/mistral", "fix     write org/mistral"],
        "another one without an owner",
    ),
    ("org/name@", ["is written org/name, or org/name@REVISION"], "an id with an empty revision"),
    ("org/my.bin", ["There is no folder or file", "hf://org/my.bin"], "an id that ends as a file does"),
    ("models/llama", ["may be a folder here", "write ./models/llama", "hf://models/llama"], "an id that is a folder"),
    ("file:///models/a%20b", ["is a URL", "write /models/a b"], "a URL of a file"),
    ("./models/circle", ["is a link that leads back to itself", "correct the link"], "links in a circle"),
    ("./models/llama+lora", ["lora", "another folder", "op: lora"], "an adapter on top"),
    ("~nobody-of-this-name/m", ["looked for"], "a home that does not exist"),
    ("", ["is empty"], "no reference at all"),
    ("m" * 300, ["There is no folder or file"], "a name that no file can have"),
    ("models/" + "m/" * 3000, ["There is no folder or file"], "a path that no file can have"),
]


class TestWhatIsNoModel:
    @pytest.mark.parametrize(("reference", "messages", "_reason"), NOWHERE, ids=[row[2] for row in NOWHERE])
    def test_a_reference_that_leads_nowhere(
        self, tmp_path: Path, reference: str, messages: list[str], _reason: str
    ) -> None:
        save(tmp_path / "models" / "llama" / "model.safetensors")
        (tmp_path / "models" / "circle").symlink_to("circle")
        (tmp_path / "empty").mkdir()
        text = refusal(reference, tmp_path)
        assert [message for message in messages if message not in text] == []

    def test_an_absolute_path_is_not_told_twice(self, tmp_path: Path) -> None:
        assert "looked for" not in refusal(str(tmp_path / "nowhere"), tmp_path)

    def test_a_pipe_or_a_device_has_a_fix(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for reference in ("pipe", "/dev/null"):
            text = refusal(reference, tmp_path)
            assert "not a regular file" in text
            assert "name a model's folder" in text

    def test_a_subfolder_cannot_lead_out(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors")
        (tmp_path / "x").mkdir()
        for subfolder in ("../m", "/", "..\\m"):
            assert "leads out of the model" in refusal("x", tmp_path, subfolder)

    def test_a_folder_without_weights_says_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        assert "it is empty" in refusal("m", tmp_path)
        (tmp_path / "m" / "notes.txt").touch()
        assert "it holds notes.txt" in refusal("m", tmp_path)

    def test_a_folder_of_models_offers_them(self, tmp_path: Path) -> None:
        save(tmp_path / "models" / "one" / "model.safetensors")
        save(tmp_path / "models" / "two" / "model.safetensors")
        text = refusal("models", tmp_path)
        assert str(tmp_path / "models" / "one") in text
        assert str(tmp_path / "models" / "two") in text

    def test_several_files_that_are_no_set_are_named(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "one.safetensors")
        save(tmp_path / "m" / "two.safetensors")
        text = refusal("m", tmp_path)
        assert "one.safetensors, two.safetensors" in text
        assert f"name one file: {tmp_path / 'm' / 'one.safetensors'}" in text

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "old.PTH", "sd.ckpt"])
    def test_pickled_weights_are_refused_with_the_reason(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / name).touch()
        (tmp_path / "m" / "optimizer.pt").touch()
        for reference in ("m", f"m/{name}"):
            text = refusal(reference, tmp_path)
            assert f"{name} is a pickled checkpoint" in text
            assert "can run code" in text
            assert "optimizer.pt" not in text
            assert f"mergegraph convert {tmp_path / reference} -o {tmp_path}/m" in text

    def test_a_folder_of_training_state_holds_no_weights(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "optimizer.pt").touch()
        assert "has no .safetensors file" in refusal("m", tmp_path)

    def test_a_gguf_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "model-q4.gguf").touch()
        for reference in ("m", "m/model-q4.gguf"):
            assert "model-q4.gguf is a GGUF file" in refusal(reference, tmp_path)

    def test_an_index_given_as_a_model_offers_its_folder(self, tmp_path: Path) -> None:
        save_sharded(tmp_path / "m")
        assert f"name the model's folder: {tmp_path / 'm'}" in refusal(f"m/{INDEX}", tmp_path)

    @pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin", None])
    def test_an_adapter_is_no_model(self, tmp_path: Path, weights: str | None) -> None:
        (tmp_path / "lora").mkdir()
        (tmp_path / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base 7B"}')
        references = ["lora"]
        if weights:
            save(tmp_path / "lora" / weights)
            references.append(f"lora/{weights}")
        for reference in references:
            text = refusal(reference, tmp_path)
            assert "is a LoRA adapter, not a model; its base is org/base 7B." in text
            assert f"write BASE+{tmp_path / 'lora'} for the base with it" in text
            assert f"{{op: lora, adapter: {tmp_path / 'lora'}, base: NODE}}" in text

    @pytest.mark.parametrize("config", [None, "", "[]", '{"base_model_name_or_path": 7}'])
    def test_an_adapter_without_a_base_is_still_named(self, tmp_path: Path, config: str | None) -> None:
        save(tmp_path / "lora" / "adapter_model.safetensors")
        if config is not None:
            (tmp_path / "lora" / "adapter_config.json").write_text(config)
        assert "is a LoRA adapter, not a model." in refusal("lora", tmp_path)

    def test_an_adapter_beside_a_whole_model_warns(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors")
        save(tmp_path / "m" / "adapter_model.safetensors")
        (tmp_path / "m" / "adapter_config.json").write_text("{}")
        checkpoint = open_checkpoint("m", tmp_path)
        assert "an adapter lies beside the weights" in said(checkpoint.warnings)
        assert len(checkpoint.files) == 1

    def test_a_file_without_tensors_is_no_model(self, tmp_path: Path) -> None:
        save(tmp_path / "m" / "model.safetensors", [])
        assert "holds no tensors" in refusal("m", tmp_path)

    def test_a_truncated_file_gives_both_numbers(self, tmp_path: Path) -> None:
        path = tmp_path / "m" / "model.safetensors"
        save(path)
        whole = path.stat().st_size
        os.truncate(path, whole - 5)
        assert f"its header asks for {whole} bytes, the file has {whole - 5}" in refusal("m", tmp_path)


def test_the_command_that_converts_pickled_weights_does(tmp_path: Path) -> None:
    make = (
        "import sys, torch; a = torch.arange(6.).reshape(2, 3);"
        "torch.save({'a': a, 'tied': a}, sys.argv[1]); torch.save({'b': a.T}, sys.argv[2])"
    )
    folder = tmp_path / "a model's folder"
    folder.mkdir()
    sources = [str(folder / f"pytorch_model-0000{number}-of-00002.bin") for number in (1, 2)]
    subprocess.run([sys.executable, "-c", make, *sources], check=True)
    with pytest.raises(InputError) as caught:
        open_checkpoint(str(folder), tmp_path)
    command, *arguments = shlex.split(caught.value.problems[0].fix)
    assert [command, *arguments[:3]] == ["mergegraph", "convert", str(folder), "-o"]
    subprocess.run([sys.executable, "-m", "mergegraph", *arguments], check=True)
    checkpoint = open_checkpoint(arguments[3], tmp_path)
    assert {name: tensor.shape for name, tensor in checkpoint.tensors.items()} == {
        "a": (2, 3),
        "tied": (2, 3),
        "b": (3, 2),
    }
