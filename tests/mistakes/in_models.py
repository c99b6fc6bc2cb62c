"""Mistakes with models, and with the place of the output."""

from __future__ import annotations

from tests.bad_inputs import content, reference
from tests.cli.test_refusals import cut, lose_tensor, occupied, pickle_only, tokenizers
from tests.cli.tiny_models import tensors
from tests.mistakes.mistake import Mended, Mistake, command, corrected, options
from tests.mistakes.spoiling import (
    as_hub_name,
    ctrl_c,
    deeper,
    finished,
    full_disk,
    lora,
    more_words,
    no_rights,
    renamed,
    replaced,
    short_shard,
    unwritable,
    with_nan,
)

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"

MODELS = [
    Mistake("a misspelt path", '"./coed"', edit=("./code", "./coed"), mended=corrected("./coed", "./code")),
    Mistake(
        "a path from another folder",
        '"/models/code"',
        edit=("./code", "/models/code"),
        mended=corrected("/models/code", "./code"),
    ),
    Mistake(
        "a misspelt file in a folder",
        "model.safetensor",
        edit=("./code", "./code/model.safetensor"),
        mended=corrected("model.safetensor}", "model.safetensors}", "model.safetensors"),
    ),
    Mistake("a model of the Hub, with no network", "my-org/code", edit=("./code", "my-org/code")),
    Mistake("a model of the Hub without its owner", '"gpt2"', edit=("./code", "gpt2")),
    Mistake(
        "a folder that is named as models of the Hub are",
        "or a model of the Hub",
        edit=("./code", "models/code"),
        spoil=as_hub_name,
        mended=corrected("models/code", "./models/code"),
    ),
    Mistake(
        "an empty folder",
        "it is empty",
        spoil=lambda folder: (folder / "new").mkdir(),
        edit=("./code", "./new"),
        mended=corrected("./new", "./code", "merges/code"),
    ),
    Mistake("a pickled model", "pickled checkpoint", spoil=pickle_only),
    Mistake("a GGUF file", "is a GGUF file", spoil=reference("code.Q4_K_M.gguf", b"GGUF")),
    Mistake("a git-lfs pointer", "a git-lfs pointer", spoil=content(_LFS)),
    Mistake(
        "an adapter in place of a model",
        "is a LoRA adapter",
        spoil=lora,
        mended=corrected("model: ./code}", "model: ./base+./code}", "/base+"),
    ),
    Mistake(
        "a fine-tune of another base",
        "different bases",
        spoil=replaced(tensors(seed=1)),
        mended=options("--allow-unrelated", "check blend.yaml"),
    ),
    Mistake(
        "another architecture",
        "llama and gpt2",
        spoil=replaced(tensors(shift=0.25), model_type="gpt2"),
        mended=options("--allow-unrelated", "check blend.yaml"),
    ),
    Mistake(
        "another vocabulary",
        "[24, 8]",
        spoil=more_words,
        mended=corrected("model: ./code}", "model: ./code, vocab: {align: base}}", "vocab: {align: "),
    ),
    Mistake("another tokenizer", "tokenizer", spoil=tokenizers),
    Mistake(
        "another number of layers",
        "layers.2",
        spoil=replaced(deeper()),
        mended=corrected("base: base}", "base: base, extra: drop}", "extra: drop"),
    ),
    Mistake(
        "a tensor that is missing",
        "layers.1",
        spoil=lose_tensor,
        mended=corrected("base: base}", "base: base, missing: keep}", "missing: keep"),
    ),
    Mistake(
        "names with another prefix",
        "no tensor in common",
        spoil=replaced(renamed()),
        mended=corrected(
            "model: ./code}", "model: ./code, rename: {transformer.: model.}}", "rename: {transformer.: model.}"
        ),
    ),
    Mistake("a download that stopped", "is truncated", spoil=cut),
    Mistake("a shard that stopped", "00002-of-00003", spoil=short_shard),
    Mistake(
        "a NaN in a model",
        "1 NaN",
        "run blend.yaml --threads 1",
        spoil=with_nan,
        exit_code=1,
        mended=options("--allow-non-finite", "run blend.yaml --threads 1"),
    ),
]

OUTPUT = [
    Mistake(
        "the output exists",
        "exists",
        "run blend.yaml",
        spoil=occupied,
        mended=Mended("-o", typed="run blend.yaml -o other"),
    ),
    Mistake(
        "the output is an input",
        "is an input",
        "run blend.yaml -o code",
        mended=Mended("a path outside", typed="run blend.yaml -o other"),
    ),
    Mistake(
        "the output inside an earlier output",
        "lies inside another output",
        "run blend.yaml -o out/other",
        spoil=finished,
        mended=Mended("out-other", typed="run blend.yaml -o out-other"),
    ),
    Mistake(
        "a folder that may not be written",
        "Permission denied",
        "run blend.yaml -o shared/out",
        spoil=unwritable,
        during=no_rights,
    ),
    Mistake("a full disk", "512 B", "run blend.yaml", during=full_disk, exit_code=3),
    Mistake(
        "a budget that is too small",
        "2.5 MiB",
        "run blend.yaml --budget 1MiB",
        exit_code=3,
        mended=options("--budget 3MiB"),
    ),
    Mistake(
        "a budget without its unit",
        "2 is a number of bytes",
        "run blend.yaml --budget 2",
        mended=options("--budget 2GiB"),
    ),
    Mistake(
        "Ctrl-C",
        "Ctrl-C",
        "run blend.yaml --threads 1",
        during=ctrl_c,
        exit_code=130,
        keeps="out.partial",
        mended=Mended("same command", typed="run blend.yaml --threads 1"),
    ),
    Mistake(
        "`finalize` before the parts are there",
        "is missing",
        "finalize blend.yaml",
        mended=command("run blend.yaml --shards 1/1"),
    ),
]
