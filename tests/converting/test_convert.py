"""`convert` keeps every tensor bit for bit, says what it leaves out, and goes on after a stop."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mergegraph.cli import main
from mergegraph.converting import unpickle
from mergegraph.converting.convert import convert
from mergegraph.converting.worker import Worker
from mergegraph.errors import InputError, Interrupted, MergegraphError, OutputError, RunError
from mergegraph.provenance.verify import verify
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.cli.tiny_models import tree
from tests.converting.pickles import tensors
from tests.provenance.outputs import flip

TIED = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}


def write_folder(folder: Path, held: Mapping[str, torch.Tensor], config: Mapping[str, object] = TIED) -> Path:
    """A folder as transformers writes it, with code and training state beside the weights."""
    folder.mkdir()
    torch.save(dict(held), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config) + "\n ")
    (folder / "tokenizer.json").write_bytes(b'{"a": 1}\r\n')
    (folder / "modeling.py").write_text("raise SystemExit")
    torch.save({"step": 3}, folder / "optimizer.pt")
    return folder


def write_shards(folder: Path) -> Path:
    """Three files with an index, as transformers writes them."""
    folder.mkdir()
    held = {name: tensor for name, tensor in tensors().items() if name != "lm_head.weight"}
    weight_map: dict[str, str] = {}
    for number in range(3):
        file = f"pytorch_model-{number + 1:05}-of-00003.bin"
        part = dict(list(held.items())[number::3])
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def same_bits(folder: Path, held: Mapping[str, torch.Tensor]) -> bool:
    stored = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    return stored.keys() == held.keys() and all(
        stored[name].dtype == tensor.dtype
        and stored[name].shape == tensor.shape
        and stored[name].view(torch.uint8).equal(tensor.detach().resolve_conj().contiguous().view(torch.uint8))
        if tensor.ndim
        else stored[name].equal(tensor)
        for name, tensor in held.items()
    )


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_a_folder_keeps_every_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folder(tmp_path / "m", tensors())
    before = tree(source)
    assert main(["convert", str(source)]) == 0
    made = tmp_path / "m-safetensors"
    assert same_bits(made, {name: tensor for name, tensor in tensors().items() if name != "lm_head.weight"})
    assert {path.name for path in made.iterdir()} == {
        "model.safetensors", "config.json", "tokenizer.json", "mergegraph.json", "mergegraph.run.json",
    }  # fmt: skip
    assert (made / "config.json").read_bytes() == before["config.json"]
    assert (made / "tokenizer.json").read_bytes() == before["tokenizer.json"]
    assert tree(source) == before
    text = said(capsys)
    assert "lm_head.weight is model.embed_tokens.weight, and config.json ties them" in text
    assert "Code was not copied: modeling.py" in text
    assert not open_checkpoint(str(made), tmp_path).warnings


def test_the_output_says_what_it_was_made_from(tmp_path: Path) -> None:
    done = convert(write_folder(tmp_path / "m", tensors()))
    said = json.loads((done.path / "mergegraph.json").read_bytes())
    (file,) = said["inputs"]
    sha256 = hashlib.sha256((tmp_path / "m" / "pytorch_model.bin").read_bytes()).hexdigest()
    assert (said["converted"], file["file"], file["sha256"]) == ("from pickle", "pytorch_model.bin", sha256)
    assert not {"recipe", "plan_sha256", "seed"} & said.keys()
    with safe_open(done.path / "model.safetensors", "pt") as stored:
        assert stored.metadata() == {"format": "pt", "mergegraph.converted": f"from pickle, sha256 {sha256}"}
    assert said["tied"] == {"lm_head.weight": "model.embed_tokens.weight"}
    assert set(said["tensors"]) == set(tensors()) - {"lm_head.weight"}
    again = convert(write_folder(tmp_path / "other", tensors()), tmp_path / "again")
    assert (again.path / "mergegraph.json").read_bytes() == (done.path / "mergegraph.json").read_bytes()


def test_the_output_is_verified_and_told_of_as_a_merge_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = str(convert(write_shards(tmp_path / "m")).path)
    sha256 = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted((tmp_path / "m").glob("*.bin"))]
    assert main(["verify", made]) == 0
    assert "as it was written (14 tensors" in said(capsys)
    assert verify(Path(made)).warnings == ()
    assert main(["info", made]) == 0
    text = said(capsys)
    assert all(f"converted from pickle, sha256 {digest}" in text for digest in sha256)
    assert "recipe" not in text
    assert "not finite" not in text
    assert main(["info", made, "--json"]) == 0
    assert json.loads(said(capsys))["provenance"]["converted"] == "from pickle"
    assert main(["info", made, "--in-toto"]) == 0
    stated = json.loads(said(capsys))["predicate"]["buildDefinition"]
    assert stated["externalParameters"] == {"converted": "from pickle"}
    assert [each["digest"]["sha256"] for each in stated["resolvedDependencies"]] == sha256


def test_no_byte_of_the_output_changes_unnoticed(tmp_path: Path) -> None:
    made = convert(write_folder(tmp_path / "m", tensors())).path
    for file in (made / "model.safetensors", made / "config.json", made / "mergegraph.json"):
        for offset in (9, file.stat().st_size - 1):
            flip(file, offset)
            with pytest.raises(MergegraphError) as raised:
                verify(made)
            assert raised.value.exit_code == 1, file
            flip(file, offset)
    assert verify(made).warnings == ()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}, "config.json says that they are two"),
        ({"architectures": ["LlamaForCausalLM"]}, "config.json says nothing"),
    ],
)
def test_an_alias_that_nothing_ties_is_written_too(tmp_path: Path, config: Mapping[str, object], reason: str) -> None:
    done = convert(write_folder(tmp_path / "m", tensors(), config))
    assert same_bits(done.path, tensors()), reason
    assert any("shared storage" in problem.fact and "lm_head" in problem.why for problem in done.warnings)


def test_a_tied_head_of_its_own_numbers_is_kept(tmp_path: Path) -> None:
    held = {**tensors(), "lm_head.weight": torch.ones(31, 8, dtype=torch.bfloat16)}
    assert same_bits(convert(write_folder(tmp_path / "m", held)).path, held)


def test_shards_become_one_model(tmp_path: Path) -> None:
    done = convert(write_shards(tmp_path / "m"), tmp_path / "out")
    assert same_bits(done.path, {name: tensor for name, tensor in tensors().items() if name != "lm_head.weight"})
    assert len(json.loads((done.path / "mergegraph.json").read_bytes())["inputs"]) == 3


def test_what_the_index_promises_must_be_there(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "m") / "pytorch_model.bin.index.json"
    stated = json.loads(index.read_text())
    stated["weight_map"]["lost.weight"] = "pytorch_model-00001-of-00003.bin"
    index.write_text(json.dumps(stated))
    with pytest.raises(InputError, match=r"holds lost\.weight; no file does"):
        convert(tmp_path / "m")
    assert not (tmp_path / "m-safetensors.partial").exists()


@pytest.mark.parametrize("file", ["../secret.bin", "/etc/x.bin", "C:x.bin", "a/b.bin", "model.py"])
def test_an_index_names_pickled_files_of_its_folder_only(tmp_path: Path, file: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": file}}))
    with pytest.raises(InputError, match="names the file"):
        convert(tmp_path / "m")


def test_a_state_dict_inside_is_found_and_the_rest_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"w": torch.ones(3), "step": 7}
    torch.save({"state_dict": held, "epoch": 3, "optimizer": {"exp_avg": torch.ones(2)}}, tmp_path / "x.ckpt")
    assert main(["convert", str(tmp_path / "x.ckpt")]) == 0
    assert same_bits(tmp_path / "x-safetensors", {"w": torch.ones(3)})
    text = said(capsys)
    assert 'keeps the model under "state_dict"' in text
    assert "left out: epoch (int), optimizer (dict), step (int)" in text


def test_a_key_names_the_model(tmp_path: Path) -> None:
    torch.save({"ema": {"w": torch.ones(3)}, "model": {"w": torch.zeros(3)}}, tmp_path / "x.pt")
    assert same_bits(convert(tmp_path / "x.pt", key="ema").path, {"w": torch.ones(3)})
    with pytest.raises(InputError, match='no tensors under "emma"'):
        convert(tmp_path / "x.pt", tmp_path / "other", key="emma")


def test_an_adapter_stays_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text('{"r": 4}')
    torch.save({"base.lora_A.weight": torch.ones(4, 8)}, tmp_path / "a" / "adapter_model.bin")
    assert (convert(tmp_path / "a").path / "adapter_model.safetensors").is_file()
    assert (tmp_path / "a-safetensors" / "adapter_config.json").read_text() == '{"r": 4}'


def test_an_output_is_replaced_only_when_asked(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "m", tensors())
    convert(source, tmp_path / "out")
    torch.save({"w": torch.ones(5)}, source / "pytorch_model.bin")
    with pytest.raises(OutputError, match="already exists"):
        convert(source, tmp_path / "out")
    assert same_bits(convert(source, tmp_path / "out", overwrite=True).path, {"w": torch.ones(5)})


def test_a_conversion_that_stands_already_is_not_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folder(tmp_path / "m", tensors())
    assert main(["convert", str(source)]) == 0
    made, before = tmp_path / "m-safetensors", tree(tmp_path)
    said(capsys)
    assert main(["convert", str(source)]) == 0
    text = said(capsys)
    assert "in 1 file, complete before this run\n  nothing to do\n" in text
    assert "Code was not copied" in text
    assert tree(tmp_path) == before
    assert main(["convert", str(source), "--overwrite"]) == 0
    assert "bit for bit" in said(capsys)
    assert (made / "mergegraph.json").read_bytes() == before["m-safetensors/mergegraph.json"]


def _other_tokenizer(source: Path, made: Path) -> None:
    (source / "tokenizer.json").write_text("{}")


def _other_name(source: Path, made: Path) -> None:
    (source / "pytorch_model.bin").rename(source / "adapter_model.bin")


def _cut(source: Path, made: Path) -> None:
    (made / "model.safetensors").write_bytes(b"")


def _without_tokenizer(source: Path, made: Path) -> None:
    (made / "tokenizer.json").unlink()


def _torn_record(source: Path, made: Path) -> None:
    (made / "mergegraph.json").write_text("{")


@pytest.mark.parametrize("change", [_other_tokenizer, _other_name, _cut, _without_tokenizer, _torn_record])
def test_another_conversion_or_a_damaged_one_is_refused(
    tmp_path: Path, change: Callable[[Path, Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_folder(tmp_path / "m", tensors())
    change(source, convert(source).path)
    before = tree(tmp_path)
    assert main(["convert", str(source)]) == 2
    assert "already exists" in said(capsys)
    assert tree(tmp_path) == before


def test_something_else_at_the_output_is_refused_before_a_source_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m-safetensors").mkdir()
    source = write_folder(tmp_path / "m", tensors())
    monkeypatch.delattr("mergegraph.converting.convert.examine")
    with pytest.raises(OutputError, match="already exists"):
        convert(source)


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "m", {"w": torch.ones(3)})
    for name, target in (("config.json", "config.json"), ("vocab.json", "../secret"), ("merges.txt", "gone")):
        (source / name).unlink(missing_ok=True)
        (source / name).symlink_to(target)
    (tmp_path / "secret").write_text("{}")
    os.mkfifo(source / "vocab.txt")
    done = convert(source)
    told = {problem.fact for problem in done.warnings}
    assert told >= {
        "config.json is left out: it is a link that leads nowhere.",
        "merges.txt is left out: it is a link that leads nowhere.",
        "vocab.json is left out: it is a link to a file outside its model.",
        "vocab.txt is left out: it is not a regular file.",
    }
    assert {path.name for path in done.path.glob("*.json")} == {
        "tokenizer.json",
        "mergegraph.json",
        "mergegraph.run.json",
    }


def test_a_stopped_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_shards(tmp_path / "m")
    read, calls = Worker.read_into, [0]

    def stopping(worker: Worker, buffer: memoryview) -> None:
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        read(worker, buffer)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "read_into", stopping)
        with pytest.raises(Interrupted, match="of 14 tensors are on disk") as stopped:
            convert(source)
    assert stopped.value.problems[0].why == f"they are kept in {tmp_path / 'm-safetensors.partial'}"
    assert not (tmp_path / "m-safetensors").exists()
    done = convert(source)
    assert done.resumed >= 8
    assert json.loads((done.path / "mergegraph.run.json").read_bytes())["tensors_resumed"] == done.resumed
    assert verify(done.path).warnings == ()
    assert same_bits(done.path, {name: tensor for name, tensor in tensors().items() if name != "lm_head.weight"})


@pytest.mark.parametrize("output", ["sd", "link", "."])
def test_a_folder_that_holds_the_source_is_never_the_output(tmp_path: Path, output: str) -> None:
    (tmp_path / "sd").mkdir()
    (tmp_path / "link").symlink_to("sd")
    torch.save(tensors(), tmp_path / "sd" / "weights.dat")
    (tmp_path / "sd" / "other.safetensors").write_bytes(b"")
    before = tree(tmp_path)
    for source in ("sd/weights.dat", "link/weights.dat"):
        with pytest.raises(OutputError, match="holds what is to be converted"):
            convert(tmp_path / source, tmp_path / output, overwrite=True)
    assert tree(tmp_path) == before


def test_where_another_output_is_written_is_no_output(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "m", tensors())
    for name in ("x.partial", "x.partial/inside"):
        with pytest.raises(OutputError, match=r"\.partial are for what is not finished"):
            convert(source, tmp_path / name, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "m", tensors())
    read = Worker.read_into

    def touching(worker: Worker, buffer: memoryview) -> None:
        (source / "pytorch_model.bin").touch()
        read(worker, buffer)

    monkeypatch.setattr(Worker, "read_into", touching)
    with pytest.raises(InputError, match="has changed while it was converted"):
        convert(source)
    assert not (tmp_path / "m-safetensors").exists()


def test_a_file_cut_short_meanwhile_is_reported(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4 << 20)}, tmp_path / "x.pt")
    with Worker(32 << 20) as worker:
        worker.open(str(tmp_path / "x.pt"), None)
        with (tmp_path / "x.pt").open("r+b") as file:
            file.truncate(100_000)
        worker.send(["w"])
        with pytest.raises(RunError, match="cut short while it was read"):
            worker.read_into(memoryview(bytearray(16 << 20)))


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    held = {f"w{i}": torch.full((4 << 20,), float(i)) for i in range(5)} | {"t": torch.ones(2048, 2048).T}
    torch.save(held, tmp_path / "x.pt")
    file_bytes = (tmp_path / "x.pt").stat().st_size
    buffer = memoryview(bytearray(1 << 20))
    with Worker(file_bytes) as worker:
        before = _peak(worker)
        worker.open(str(tmp_path / "x.pt"), None)
        worker.send(held)
        for _ in range(0, sum(tensor.nbytes for tensor in held.values()), 1 << 20):
            worker.read_into(buffer)
        grown = _peak(worker) - before
    assert grown < 48 << 20, f"{grown >> 20} MiB for a file of {file_bytes >> 20} MiB"


def test_pieces_are_small_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "PIECE_BYTES", 48)
    held = {name: tensor for name, tensor in tensors().items() if tensor.ndim} | {
        "cube": torch.arange(5.0 * 7 * 3).reshape(5, 7, 3).permute(2, 0, 1)
    }
    torch.save(held, tmp_path / "x.pt")
    opened = unpickle.open_pickle(str(tmp_path / "x.pt"), None)
    for name, tensor in opened.tensors.items():
        pieces = [bytes(piece) for piece in unpickle.content(tensor)]
        whole = held[name].detach().resolve_conj().contiguous().view(torch.uint8).numpy().tobytes()
        assert b"".join(pieces) == whole, name
        assert max(map(len, pieces), default=0) <= 48


def _peak(worker: Worker) -> int:
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024
