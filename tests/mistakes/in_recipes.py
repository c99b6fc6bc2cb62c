"""Mistakes in a recipe."""

from __future__ import annotations

from tests.mistakes.mistake import Mistake, corrected
from tests.mistakes.spoiling import file, no_config

_SCALE, _SUM = "{op: scale, input: d_code, by: 0.5}", "{op: sum, inputs: [base, boost]}"

RECIPE = [
    Mistake("a misspelt op", 'no op "scael"', edit=("op: scale", "op: scael"), mended=corrected("scael", "scale")),
    Mistake(
        "an op by the name that another tool has for it",
        'no op "linear"',
        edit=(_SUM, "{op: linear, inputs: [base, code]}"),
        mended=corrected("op: linear", "op: soup", "{op: soup"),
    ),
    Mistake(
        "a misspelt node", 'no node "bost"', edit=("boost]", "bost]"), mended=corrected("bost]", "boost]", "boost")
    ),
    Mistake("a misspelt field", 'no "bye"', edit=("by: 0.5", "bye: 0.5"), mended=corrected("bye", "by")),
    Mistake(
        "a field by the name that another tool has for it",
        'has no "factor", and needs "by"',
        edit=("by: 0.5", "factor: 0.5"),
        mended=corrected("factor", "by", "`by:`"),
    ),
    Mistake(
        "outputs beside the nodes",
        'has no "outputs" at the top',
        edit=("  out: {op: save, input: merged, path: out}", "outputs: {out: merged}"),
        mended=corrected("outputs: {out: merged}", "  out: {op: save, input: merged, path: ./out}", "out: {op: save, "),
    ),
    Mistake(
        "nodes where a soup takes a glob",
        "takes one glob of checkpoints",
        edit=(_SUM, "{op: soup, models: [base, code]}"),
        mended=corrected("models: [", "inputs: [", "`inputs: ["),
    ),
    Mistake("a decimal comma", 'no "5"', edit=("by: 0.5", "by: 0,5"), mended=corrected("by: 0,5", "by: 0.5")),
    Mistake(
        "a decimal comma in quotes",
        'not "0,5"',
        edit=("by: 0.5", "by: '0,5'"),
        mended=corrected("by: '0,5'", "by: 0.5"),
    ),
    Mistake(
        "a number for each kind of tensor, in a mapping",
        "not a mapping",
        edit=("by: 0.5", "by: {attention: 0.5}"),
        mended=corrected("by: {attention: 0.5}", "by: [{kind: attention, value: 0.5}, {value: 1}]"),
    ),
    Mistake("a percentage", 'not "50%"', edit=("by: 0.5", "by: 50%"), mended=corrected("by: 50%", "by: 0.5")),
    Mistake(
        "a strength for each input, in a list",
        'has no "weights"',
        edit=(_SUM, "{op: soup, inputs: [base, code], weights: [0.6, 0.4]}"),
        mended=corrected(
            "inputs: [base, code], weights: [0.6, 0.4]",
            "inputs: [{from: base, weight: 0.6}, {from: code, weight: 0.4}]",
            "inputs: [{from:",
        ),
    ),
    Mistake(
        "a list of strengths that is empty",
        "a list of 1 or more",
        edit=("by: 0.5", "by: []"),
        mended=corrected("by: []", "by: 0.5", "a number"),
    ),
    Mistake(
        "a preset beside what contradicts it",
        "means `vote: unweighted`, and `vote: weighted` is written",
        edit=(_SCALE, "{op: ties, inputs: [d_code], density: 0.5, preset: paper, vote: weighted}"),
        mended=corrected(", vote: weighted", "", "leave out `preset:` or `vote:`"),
    ),
    Mistake(
        "rules that leave tensors without a number",
        "No rule of by matches",
        edit=("by: 0.5", "by: [{kind: mlp, value: 1}]"),
        mended=corrected("value: 1}", "value: 1}, {value: 0.5}", "{value: "),
    ),
    Mistake(
        "weights that do not add to 1",
        "add to 1.1",
        edit=(_SUM, "0.5*base + 0.6*code"),
        mended=corrected(
            "0.5*base + 0.6*code", "{op: soup, inputs: [{from: base, weight: 0.5}, {from: code, weight: 0.6}]}"
        ),
    ),
    Mistake(
        "a delta saved as a model",
        "its input is a delta",
        edit=(_SUM, "{op: sum, inputs: [boost, d_code]}"),
        mended=corrected("[boost, d_code]", "[base, boost]", "{op: sum, inputs: ["),
    ),
    Mistake(
        "a model averaged with a delta",
        'boost" is delta',
        edit=(_SUM, "{op: soup, inputs: [base, boost]}"),
        mended=corrected("op: soup", "op: sum", "{op: sum"),
    ),
    Mistake(
        "a cycle",
        "cycle",
        edit=("input: d_code, by", "input: merged, by"),
        mended=corrected("input: merged, by", "input: d_code, by", "take one of them out"),
    ),
    Mistake(
        "two saves to one path",
        "one path",
        edit=("path: out}", "path: out}\n  copy: {op: save, input: base, path: out}"),
        mended=corrected("input: base, path: out}", "input: base, path: out-copy}", "path: out-copy"),
    ),
    Mistake("a tab", "a tab stands", edit=("  base:", "\tbase:"), mended=corrected("\tbase:", "  base:", "spaces")),
    Mistake(
        "a bracket that is not closed",
        "is not closed",
        edit=("boost]}", "boost}"),
        mended=corrected("boost}", "boost]}", "add ]"),
    ),
    Mistake(
        "a name given twice",
        "is written twice",
        edit=("d_code: {op", "code: {op"),
        mended=corrected("code: {op: delta", "d_code: {op: delta", "rename"),
    ),
    Mistake(
        "a recipe for a newer version",
        "format version 2",
        edit=("mergegraph: 1", "mergegraph: 2"),
        mended=corrected("mergegraph: 2", "mergegraph: 1"),
    ),
    Mistake(
        "a dtype that is none",
        '"bf61"',
        edit=("path: out}", "path: out, dtype: bf61}"),
        mended=corrected("bf61", "bf16"),
    ),
    Mistake(
        "a number of gigabytes without its unit",
        "a number of bytes",
        edit=("path: out}", "path: out, max_shard_size: 5}"),
        mended=corrected("size: 5}", "size: 5GB}", "max_shard_size: 5GB"),
    ),
]

DONE_ALL_THE_SAME = [
    Mistake(
        "a base without its config.json",
        '"base" has no config.json, so the output has none.',
        spoil=no_config,
        exit_code=0,
        mended=corrected("path: out}", "path: out, files_from: code}", "files_from: code"),
    ),
    Mistake(
        "a base without a tokenizer",
        '"base" has no tokenizer, so the output has none.',
        spoil=file("code/tokenizer.json", "{}"),
        exit_code=0,
        mended=corrected("path: out}", "path: out, tokenizer_from: code}", "tokenizer_from: code"),
    ),
    Mistake(
        "a base and its fine-tune swapped, which `plan` shows",
        "base + 0.5 (base - code)",
        "plan blend.yaml --threads 1 --budget 64MiB",
        edit=("model: code, base: base", "model: base, base: code"),
        exit_code=0,
    ),
    Mistake(
        "a node that nothing uses",
        'Node "boost" is not used',
        edit=("[base, boost]", "[base, d_code]"),
        exit_code=0,
        mended=corrected("  boost: {op: scale, input: d_code, by: 0.5}\n", "", "remove it"),
    ),
    Mistake(
        "a negative density",
        "A density of -0.5",
        edit=(_SCALE, "{op: trim, input: d_code, density: -0.5}"),
        exit_code=0,
        mended=corrected("-0.5", "0.5", "a share between 0 and 1"),
    ),
    Mistake(
        "a density in percent",
        "A density of 30",
        edit=(_SCALE, "{op: trim, input: d_code, density: 30}"),
        exit_code=0,
        mended=corrected("30", "0.3", "0.3"),
    ),
    Mistake(
        "a list with more strengths than there are layers",
        "3 values for 2 layers",
        edit=("by: 0.5", "by: [0.2, 0.4, 0.9]"),
        exit_code=0,
        mended=corrected("[0.2, 0.4, 0.9]", "[0.2, 0.9]", "at most 2"),
    ),
]
