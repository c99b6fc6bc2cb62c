"""Model files and recipes that are refused, and what the command says of each: `python -m tests.bad_inputs`.

Prints docs/refusals.md. A test holds the page against this, and each refusal against what every one of them owes.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from mergegraph.cli import main
from tests.cli.test_refusals import REFUSALS, Refusal
from tests.cli.tiny_models import BLEND, tensors, tree, write_blend, write_file
from tests.tensors.header_corpus import F32, WORD, framed, tensor

_SHOWN_FOLDER = "/home/you/merges"
_INDEX = "model.safetensors.index.json"
_SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@dataclass(frozen=True)
class BadInput:
    """`spoil` makes the folder bad, of which `blend.yaml`, `base` and `code` are the start; `says` is in the error."""

    reason: str
    spoil: Callable[[Path], None]
    says: str


@dataclass(frozen=True)
class Refused:
    """How the command ended, and whether the folder is as it was."""

    exit_code: int
    out: str
    error: str
    left_nothing: bool


def content(raw: bytes) -> Callable[[Path], None]:
    """code/model.safetensors holds `raw` instead."""
    return lambda folder: _write(folder / "code" / "model.safetensors", raw)


def reference(text: str, raw: bytes | None = None) -> Callable[[Path], None]:
    """The recipe names the model `text`; there is a file `raw` at it, or whatever is there."""

    def spoil(folder: Path) -> None:
        if raw is not None:
            _write(folder / text, raw)
        (folder / "blend.yaml").write_text(BLEND.replace("./code", text))

    return spoil


def _named_as_an_id(folder: Path) -> None:
    """The recipe names a folder as models of the Hub are named."""
    (folder / "models").mkdir()
    (folder / "code").rename(folder / "models" / "code")
    (folder / "blend.yaml").write_text(BLEND.replace("./code", "models/code"))


def instead(**files: bytes) -> Callable[[Path], None]:
    """The folder `code` holds these files in place of its weights; `__` is a dot."""

    def spoil(folder: Path) -> None:
        (folder / "code" / "model.safetensors").unlink()
        for name, raw in files.items():
            _write(folder / "code" / name.replace("__", "."), raw)

    return spoil


def sharded(weight_map: object) -> Callable[[Path], None]:
    """`code` in two files, the second with the last tensor, and an index that says otherwise."""

    def spoil(folder: Path) -> None:
        held = tensors(shift=0.25)
        *first, last = held
        (folder / "code" / "model.safetensors").unlink()
        write_file(folder / "code" / _SHARDS[0], {name: held[name] for name in first})
        write_file(folder / "code" / _SHARDS[1], {last: held[last]})
        text = weight_map if isinstance(weight_map, bytes) else json.dumps({"weight_map": weight_map}).encode()
        _write(folder / "code" / _INDEX, text)

    return spoil


def _write(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)


def _pipe(folder: Path) -> None:
    (folder / "code" / "model.safetensors").unlink()
    os.mkfifo(folder / "code" / "model.safetensors")


def _folder(folder: Path) -> None:
    (folder / "code" / "model.safetensors").unlink()
    (folder / "code" / "model.safetensors").mkdir()


def _link(folder: Path) -> None:
    (folder / "private").mkdir()
    (folder / "code" / "model.safetensors").rename(folder / "private" / "weights.safetensors")
    (folder / "code" / "model.safetensors").symlink_to(folder / "private" / "weights.safetensors")


def _leading(to: str) -> Callable[[Path], None]:
    """code/model.safetensors is a link to `to`."""

    def spoil(folder: Path) -> None:
        (folder / "code" / "model.safetensors").unlink()
        (folder / "code" / "model.safetensors").symlink_to(to)

    return spoil


def _config_pipe(folder: Path) -> None:
    (folder / "code" / "config.json").unlink()
    os.mkfifo(folder / "code" / "config.json")


def _both(folder: Path) -> None:
    sharded(dict(zip(tensors(), (_SHARDS[0], _SHARDS[0], _SHARDS[1]), strict=True)))(folder)
    write_file(folder / "code" / "model.safetensors", {"old.weight": ([2], [1.0, 2.0])})


def _twice(folder: Path) -> None:
    instead()(folder)
    for shard in _SHARDS:
        write_file(folder / "code" / shard, tensors(shift=0.25))


def _several(folder: Path) -> None:
    instead()(folder)
    for name in ("one.safetensors", "two.safetensors"):
        write_file(folder / "code" / name, tensors(shift=0.25))


_TRAP = dict.fromkeys(tensors(), "../base/model.safetensors")
_ELSEWHERE = dict(zip(tensors(), (_SHARDS[1], _SHARDS[0], _SHARDS[0]), strict=True))
_PICKLED = dict.fromkeys(tensors(), "pytorch_model.bin")
_SMALL_PARTS = "{" + ",".join(f'"{number:x}":{{}}' for number in range(20_000)) + "}"
_ZIP = b"PK\x03\x04\x14\x00\x08\x08" + bytes(64)
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"
_HTML = b"<!DOCTYPE html><html><title>Log in</title></html>"

FILES = [
    # what is of another kind, under the name of a safetensors file and as what the recipe names
    BadInput("a zip, as torch.save writes it", content(_ZIP), "it is a pickled file"),
    BadInput("a pickle, as old torch.save wrote it", content(b"\x80\x02}q\x00." + bytes(64)), "it is a pickled file"),
    BadInput("a GGUF file under another name", content(b"GGUF\x03\0\0\0" + bytes(64)), "it is a GGUF file"),
    BadInput("a git-lfs pointer", content(_LFS), "it is a git-lfs pointer"),
    BadInput("a web page", content(_HTML), "it is a web page"),
    BadInput("a zip named in the recipe", reference("zip.safetensors", _ZIP), "it is a pickled file"),
    BadInput("a pickled file named in the recipe", reference("model.ckpt", b"\x80\x02}."), "is a pickled checkpoint"),
    BadInput("a GGUF file named in the recipe", reference("m.Q4_K_M.gguf", b"GGUF"), "is a GGUF file"),
    BadInput("a git-lfs pointer named in the recipe", reference("lfs.safetensors", _LFS), "it is a git-lfs pointer"),
    BadInput("a web page named in the recipe", reference("page.safetensors", b"\n" + _HTML), "it is a web page"),
    BadInput("a config named in the recipe", reference("code/config.json"), "holds no weights"),
    BadInput("a device named in the recipe", reference("/dev/zero"), "not a regular file"),
    BadInput("a folder that may be a model of the Hub", _named_as_an_id, "or a model of the Hub"),
    BadInput("a model of the Hub without its owner", reference("hf://gpt2"), "names no owner"),
    BadInput("an address with a signature", reference("https://host/m.safetensors?sig=abc"), "with a query"),
    BadInput("a folder of GGUF files", instead(model__gguf=b"GGUF"), "is a GGUF file"),
    BadInput("a folder without weights", instead(), "has no .safetensors file"),
    BadInput("two files that are not one model", _several, "not one model by their names"),
    # what is no regular file, or another's
    BadInput("a pipe in place of the weights", _pipe, "not a regular file"),
    BadInput("a folder in place of the weights", _folder, "not a regular file"),
    BadInput("a link out of the model's folder", _link, "leads out of its folder"),
    BadInput("a link to itself", _leading("model.safetensors"), "leads back to itself"),
    BadInput("a link to nothing", _leading("../blobs/0a1b"), "which is not there"),
    # a header
    BadInput("an empty file", content(b""), "it has 0 bytes"),
    BadInput("a header that stops", content(framed('{"a":{' + F32 + "}}")[:30]), "is truncated"),
    BadInput("a header longer than the file", content(b"\xff\xff\xff\x04" + bytes(20)), "the file has 24"),
    BadInput("a header of 26 MB", content(framed(b"{}".ljust(26_000_000))), "--max-header-mb 26"),
    BadInput("a header packed with small parts", content(framed(_SMALL_PARTS)), "it packs"),
    BadInput("a header nested deep", content(framed('{"a":' * 99 + "1" + "}" * 99)), "nested more than 3 deep"),
    BadInput("a header that is no JSON", content(framed("{'a': 1}")), "is not what safetensors writes"),
    BadInput("a header that is not UTF-8", content(framed(b'{"\xff":1}')), "is not UTF-8"),
    BadInput("one name twice", content(framed('{"a":{' + F32 + '},"\\u0061":{' + F32 + "}}", WORD)), "is there twice"),
    BadInput("a dtype that nobody knows", content(framed(tensor("F33", "[1]", 0, 4), WORD)), '"F33" is unknown'),
    BadInput("a shape that overflows", content(framed(tensor("F32", f"[{2**62},4]", 0, 4), WORD)), "2^63 elements"),
    BadInput("a shape of more bytes", content(framed(tensor("F32", "[3]", 0, 4), WORD)), "takes 12 bytes"),
    BadInput("a hole in the data", content(framed(tensor("F32", "[1]", 4, 8), WORD * 2)), "the data begins at"),
    BadInput("tensors that overlap", content(framed(
        '{"a":{' + F32 + '},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}', WORD + b"00")), "a ends at"),
    BadInput("bytes behind the data", content(framed(tensor("F32", "[1]", 0, 4), WORD * 9)), "its header describes"),
    BadInput("an escape sequence in a tensor's name",
             content(framed(tensor("X", "[]", 0, 0, "\\u001b[2J"))), "\\x1b[2J"),
    # an index
    BadInput("an index that is no JSON", sharded(b"{'weight_map'"), "is not an index"),
    BadInput("an index that leads out of the folder", sharded(_TRAP), "inside its own folder"),
    BadInput("an index of pickled files", sharded(_PICKLED), "inside its own folder"),
    BadInput("an index of a file that is not there", sharded({**dict.fromkeys(tensors(), _SHARDS[0]),
             "a": "model-00009-of-00009.safetensors"}), "is missing"),
    BadInput("an index that puts a tensor elsewhere", sharded(_ELSEWHERE), "it is in"),
    BadInput("a tensor in two shards", _twice, "both hold"),
    BadInput("an index and a single file that disagree", _both, "and they disagree"),
    BadInput("a set of shards without the first", instead(**{_SHARDS[1].replace(".", "__"): framed("{}")}), "lacks"),
    # beside the weights
    BadInput("a config that is no JSON",
             lambda folder: _write(folder / "code" / "config.json", b"{\n,}"), "is not JSON"),
    BadInput("a pipe in place of the config", _config_pipe, "not a regular file"),
    BadInput("a quantised model", lambda folder: _write(
        folder / "code" / "config.json", b'{"quantization_config": {"quant_method": "gptq"}}'), "is quantised (gptq)"),
]  # fmt: skip

RECIPES = [refusal for refusal in REFUSALS if refusal.exit_code == 2]


def as_bad_input(refusal: Refusal) -> BadInput:
    """A refusal that is tested as such: a line of the recipe changed, or files damaged."""

    def spoil(folder: Path) -> None:
        (folder / "blend.yaml").write_text(BLEND.replace(*refusal.edit, 1) if refusal.edit[0] else BLEND)
        refusal.damage(folder)

    return BadInput(refusal.reason, spoil, refusal.says[0])


def refused(bad: BadInput, folder: Path, arguments: tuple[str, ...] = ()) -> Refused:
    """What `mergegraph run blend.yaml` says in `folder`, which is empty."""
    write_blend(folder)
    bad.spoil(folder)
    return said(("run", "blend.yaml", *arguments), folder)


def said(arguments: Sequence[str], folder: Path) -> Refused:
    """What a command says in `folder`; paths of this machine are replaced."""
    before = _tree(folder)
    out, error = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(error):
        exit_code = main(arguments)
    shown = [
        text.getvalue().replace(str(folder.resolve()), _SHOWN_FOLDER).replace(str(folder), _SHOWN_FOLDER)
        for text in (out, error)
    ]
    return Refused(exit_code, shown[0], shown[1], _tree(folder) == before)


def _tree(folder: Path) -> dict[str, bytes]:
    """The folder's files; a pipe, which would wait, is there by name."""
    return tree(folder) | {str(path.relative_to(folder)): b"" for path in folder.rglob("*") if path.is_fifo()}


def page() -> Iterator[str]:
    """docs/refusals.md, line by line."""
    yield "# What is refused, and how"
    yield ""
    yield "This page is generated by `python -m tests.bad_inputs`, which runs `mergegraph run blend.yaml` with one"
    yield "thing wrong each time. The exit code is always 2, nothing is printed on stdout, and nothing is left behind."
    yield "For what is accepted, see [files.md](files.md)."
    sections = (
        ("Models", [(bad, ()) for bad in FILES]),
        ("Recipes, outputs and options", [(as_bad_input(refusal), refusal.arguments) for refusal in RECIPES]),
    )
    for heading, cases in sections:
        yield from ("", f"## {heading}")
        for bad, arguments in cases:
            with tempfile.TemporaryDirectory() as folder:
                error = refused(bad, Path(folder), arguments).error
            yield from ("", f"**{bad.reason[0].upper()}{bad.reason[1:]}**", "", "```text", *error.splitlines(), "```")


if __name__ == "__main__":
    print("\n".join(page()))
