"""What is refused, with its line, and what mergekit ignores and a warning says."""

from __future__ import annotations

import pytest

from mergegraph.mergekit.documents import is_configuration
from tests.mergekit.texts import imported, refusal

MODELS = "models:\n- model: org/one\n- model: org/two\n"
SLICES = "slices:\n- sources:\n  - {model: org/one, layer_range: [0, 2]}\n"
BASE = "base_model: org/base\n"

# configuration; line; what is said; why it is here
REFUSED: list[tuple[str, int, tuple[str, ...], str]] = [
    ("merge_method: linaer\n" + MODELS, 1, ('"linaer"', "Did you mean linear?"), "a misspelt method"),
    ("merge_method: linear\nmodel: []\n" + MODELS, 2, ('no "model"', "Did you mean models?"), "a misspelt key"),
    ("merge_method: linear\nrandom_seed: 3\n" + MODELS, 2, ("random_seed", "--set seed"), "a key mergekit ignores"),
    ("merge_method: linear\nmodules: {}\n" + MODELS, 2, ('no "modules"', "each module"), "several modules"),
    (MODELS, 1, ("how to merge", "merge_method"), "no method"),
    ("merge_method: linear\n", 1, ("what to merge", "`models:`, or `slices:`"), "nothing to merge"),
    ("merge_method: linear\n" + MODELS + SLICES, 5, ("not both",), "models and slices"),
    ("merge_method: linear\nmodels: []\n", 2, ("`models:` takes a list, not an empty",), "no models"),
    ("merge_method: linear\nmodels: [3]\n", 2, ("mapping, not 3",), "a number for a model"),
    ("merge_method: linear\nmodels:\n- modle: org/one\n", 3, ('no "modle"', "Did you mean model?"), "a misspelt entry"),
    ("merge_method: linear\nmodels:\n- {model: org/one, layer_range: [0, 2]}\n", 3, ('no "layer_range"',),
     "layers of a whole model, which mergekit ignores"),
    ("merge_method: passthrough\nslices:\n- sources: [{model: org/one}]\n", 3, ("`layer_range` takes",), "no layers"),
    ("merge_method: passthrough\nslices:\n- sources: [{model: org/one, layer_range: [2, 2]}]\n", 3, ("`layer_range`",),
     "no layer at all"),
    ("merge_method: passthrough\nslices:\n- sources: [{model: org/one, layer_range: [0, -1]}]\n", 3, ("`layer_range`",),
     "a negative end, for which mergekit gives no layers"),
    (f"merge_method: passthrough\n{SLICES}  foo: 2\n", 5, ('A slice has no "foo"',), "an unknown key of a slice"),
    ("merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n"
     "  - {model: b, layer_range: [0, 3]}\n", 3, ("2 and 3 layers",), "sources of two lengths"),
    ("merge_method: linear\nparameters: {wieght: 1}\n" + MODELS, 2, ('"wieght"', "Did you mean weight?"),
     "a misspelt parameter"),
    ("merge_method: linear\nparameters:\n  weight:\n  - {fliter: mlp, value: 1}\n" + MODELS, 4,
     ('no "fliter"', "Did you mean filter?"), "a misspelt filter, which mergekit takes for all tensors"),
    ("merge_method: linear\nparameters:\n  weight:\n  - 0.1\n  - {value: 1}\n" + MODELS, 4, ("holds 0.1",),
     "numbers among conditions"),
    ("merge_method: linear\nparameters: {weight: [{filter: mlp}]}\n" + MODELS, 2, ("no value",), "no value"),
    ("merge_method: linear\nparameters: {weight: []}\n" + MODELS, 2, ('"weight" has no value',), "an empty list"),
    ("merge_method: linear\nparameters: {weight: high}\n" + MODELS, 2, ('"weight" takes a number, not "high"',),
     "a word"),
    ("merge_method: linear\nparameters: {weight: null}\n" + MODELS, 2, ("takes a number, not nothing",), "nothing"),
    ("merge_method: linear\nparameters: 3\n" + MODELS, 2, ("takes a mapping",), "a number for parameters"),
    ("merge_method: linear\n" + MODELS, 3, ('org/one is given no "weight"',), "no weight"),
    ("merge_method: slerp\nbase_model: org/one\n" + MODELS, 1, ('given no "t"',), "no t"),
    ("merge_method: slerp\nparameters: {t: 0.5}\n" + MODELS, 1, ("needs a base",), "no base"),
    (f"merge_method: slerp\n{BASE}parameters: {{t: 0.5}}\n" + MODELS, 4, ("exactly 2 models, and this has 3",),
     "three models for two"),
    (f"merge_method: nuslerp\n{BASE}parameters: {{weight: 1}}\nmodels: [{{model: a}}]\n", 4,
     ("exactly 2 models beside the base, and this has 1",), "one for two"),
    (f"merge_method: model_stock\n{BASE}models: [{{model: a}}]\n", 3, ("at least 2 models beside the base",), "one"),
    ("merge_method: passthrough\n" + MODELS, 2, ("exactly 1 model, and this has 2",), "two for one"),
    (f"merge_method: ties\n{BASE}parameters: {{weight: 1}}\nmodels: [{{model: org/base}}]\n", 4, ("has 0",), "alone"),
    ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: a}]\n", 3, ("with itself",), "twice"),
    (f"merge_method: ties\n{BASE}parameters: {{weight: 1}}\n" + SLICES, 5, ("not among the sources",),
     "a base that a slice lacks"),
    ("merge_method: linear\nparameters: {weight: 1, normalize: [true, false]}\n" + MODELS, 2, ("one value",),
     "a truth that differs by layer"),
    ("merge_method: multislerp\nparameters: {weight: 1, eps: 0.1}\n" + MODELS, 2, ('"eps"',), "an epsilon"),
    ("merge_method: multislerp\nparameters: {weight: [0, 1], normalize_weights: false}\n" + MODELS, 2,
     ("normalize_weights",), "raw weights that differ by layer"),
    ("merge_method: linear\nslices:\n- sources:\n"
     "  - {model: a, layer_range: [2, 4], parameters: {weight: [{filter: layers.2, value: 1}, {value: 0}]}}\n",
     4, ("names a layer",), "a layer's number where the layers are renumbered"),
    ("merge_method: linear\ndtype: bf16\n" + MODELS, 2, ('no dtype "bf16"', "Did you mean"), "an abbreviated dtype"),
    ("merge_method: linear\ndtype: 16\n" + MODELS, 2, ("`dtype:` takes a text",), "a number for a dtype"),
    ("merge_method: linear\ntokenizer_source: base\ntokenizer: {source: base}\n" + MODELS, 3, ("keep one",), "both"),
    ("merge_method: linear\ntokenizer: {source: base, foo: 1}\n" + MODELS, 2, ('no "foo"',), "an unknown key"),
    ("merge_method: linear\ntokenizer: {tokens: {a: {source: b}}}\n" + MODELS, 2, ("single tokens",), "single tokens"),
    ("merge_method: linear\ntokenizer: {pad_to_multiple_of: x}\n" + MODELS, 2, ("a whole number",), "no multiple"),
    ("merge_method: linear\nparameters: {weight: 1}\nchat_template: llama3\n" + MODELS, 3, ("mergekit's own template",),
     "a template of mergekit"),
    ("merge_method: linear\nparameters: {weight: 1}\nchat_template: nosuch\n" + MODELS, 3, ("no Jinja template",),
     "no template"),
    ("merge_method: linear\nmerge_method: slerp\n" + MODELS, 2, ("written twice",), "a key twice"),
    ("name: a\nmerge_method: linear\n---\nname: a\nmerge_method: linear\n" + MODELS, 1, ("what to merge",),
     "in one of two documents"),
    (f"name: a\nmerge_method: linear\nparameters: {{weight: 1}}\n{MODELS}---\n"
     f"name: a\nmerge_method: linear\nparameters: {{weight: 1}}\n{MODELS}", 9, ('called "a"',), "two of one name"),
    (f"merge_method: linear\nparameters: {{weight: 1}}\n{MODELS}---\n"
     f"merge_method: linear\nparameters: {{weight: 1}}\n{MODELS}", 7, ("no name",), "two without a name"),
    ("name: a\nmerge_method: passthrough\nmodels: [{model: b}]\n---\n"
     "name: b\nmerge_method: passthrough\nmodels: [{model: a}]\n", 7, ("in a circle: a -> b -> a",), "a circle"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "line", "said", "why"), REFUSED, ids=[row[3] for row in REFUSED])
def test_refused_with_its_line(config: str, line: int, said: tuple[str, ...], why: str) -> None:
    shown = "\n".join(
        str(problem)
        for problem in refusal(config).problems
        if problem.severity == "error" and problem.at is not None and problem.at.line == line
    )
    assert all(part in shown for part in said), f"{why}\n{refusal(config)}"


def test_everything_wrong_is_said_at_once() -> None:
    config = (
        "merge_method: linaer\nfoo: 1\ndtype: bf16\nmodels:\n- {model: a, x: 1}\n- {model: b, parameters: {wt: 1}}\n"
    )
    lines = [problem.at.line for problem in refusal(config).problems if problem.at]
    assert sorted(lines) == [1, 2, 3, 5, 6]


# configuration; line; what is warned of
WARNED: list[tuple[str, int, str]] = [
    (f"merge_method: task_arithmetic\n{BASE}parameters: {{weight: 1, density: 0.5}}\n" + MODELS, 3,
     'reads no "density"'),
    ("merge_method: slerp\nbase_model: org/one\nparameters: {t: 0.5, normalize: true}\n" + MODELS, 3,
     "mergekit ignores it"),
    (f"merge_method: task_arithmetic\n{BASE}models:\n- model: org/one\n  parameters: {{weight: 1, lambda: 2}}\n", 5,
     "counts for the whole merge"),
    (f"merge_method: ties\n{BASE}models:\n- {{model: org/base, parameters: {{weight: 1}}}}\n"
     "- {model: org/one, parameters: {weight: 1}}\n", 4, "given to the base"),
    (f"merge_method: karcher\n{BASE}" + MODELS, 2, "averages the base model in"),
    (f"merge_method: ram\n{BASE}parameters: {{epsilon: 0.01}}\n" + MODELS, 3, "absolute"),
    ("merge_method: slerp\nbase_model: org/one\nparameters: {t: [0, 1]}\n" + MODELS, 3, "never reaches"),
    (f"merge_method: sce\n{BASE}" + MODELS, 1, "add up to less than 1e-6"),
    (f"merge_method: model_stock\n{BASE}" + MODELS, 1, "of a tensor are below about 1e-3"),
    (f"merge_method: model_stock\n{BASE}parameters: {{filter_wise: true}}\n" + MODELS, 1, "of a row are below"),
    (f"merge_method: linear\n{BASE}parameters: {{weight: 1}}\ntokenizer_source: union\nmodels:\n"
     "- model: org/base\n- model: org/one\n- model: org/two\n", 4, "embedding of the first of them"),
    ("merge_method: linear\nparameters: {weight: 1}\nchat_template: auto\n" + MODELS, 3, "comes with the tokenizer"),
    (f"merge_method: passthrough\n{BASE}{SLICES}", 2, "Config and tokenizer come from org/one"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "line", "said"), WARNED, ids=[row[2] for row in WARNED])
def test_what_is_ignored_or_a_fault_is_a_warning(config: str, line: int, said: str) -> None:
    (warning,) = imported(config).warnings
    assert said in str(warning)
    assert warning.severity == "warning"
    assert warning.at is not None
    assert (warning.at.file, warning.at.line) == ("merge.yml", line)


def test_how_mergekit_stores_its_masks_is_not_warned_of() -> None:
    config = f"merge_method: ties\n{BASE}parameters: {{weight: 1, int8_mask: true}}\n" + MODELS
    assert imported(config).warnings == ()


def test_fixed_faults_are_not_warned_of() -> None:
    config = "merge_method: slerp\nbase_model: org/one\nparameters: {t: [0, 1]}\n" + MODELS
    assert imported(config, fix=True).warnings == ()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("merge_method: linear\n", True),
        ("name: x\n---\n'merge_method': linear\n", True),
        ("{merge_method: linear, models: []}\n", True),
        ("slices:\n- sources: []\n", True),
        ("mergegraph: 1\nslices: 2\n", False),
        ("nodes:\n  m: {op: stack}\n  slices: 3\n", False),
        ("# merge_method: linear\n", False),
        ("", False),
    ],
)
def test_a_configuration_is_known_by_its_keys(text: str, is_one: bool) -> None:
    assert is_configuration(text) is is_one


def test_syntax_errors_of_all_documents_are_said_with_their_lines() -> None:
    config = "merge_method: linear\nmodels: [a\n---\nmerge_method: slerp\n...\n---\nmodels: {b\n"
    assert [problem.at.line for problem in refusal(config).problems if problem.at] == [2, 7]
