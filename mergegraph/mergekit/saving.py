"""What a configuration says of its output, as the save node: dtype, tokenizer, chat template, sidecar files."""

from __future__ import annotations

from mergegraph.mergekit.config import Merge, Reference
from mergegraph.mergekit.emitting import Nodes
from mergegraph.mergekit.parameters import Findings
from mergegraph.mergekit.places import identifier
from mergegraph.mergekit.signatures import SIGNATURES, Base
from mergegraph.mergekit.vocabulary import Alignment
from mergegraph.mergekit.writing import Noted, Tree

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""OpenAI's ChatML, https://github.com/openai/openai-python/blob/v0.28.1/chatml.md"""

_BUILT_IN = ("alpaca", "chatml", "exaone", "llama3", "mistral")


def save_fields(
    merge: Merge,
    node: str,
    aligned: Alignment | None,
    nodes: Nodes,
    folder: str,
    templates: str,
    findings: Findings,
) -> tuple[dict[str, Tree], dict[str, str]]:
    """The fields of the save node, and the chat template to write, by file name."""
    path = f"./out/{folder}".replace("{", "{{").replace("}", "}}")
    fields: dict[str, Tree] = {"op": "save", "input": node, "path": path, **_dtype(merge)}
    base = _files_from(merge, nodes, findings)
    if base is not None:
        fields["files_from"] = Noted(base, "as mergekit: from base_model", merge.at)
    if aligned is not None and aligned.target is not None:
        fields["tokenizer_from"] = Noted(aligned.target, "", aligned.at)
    if merge.tokenizer is not None and merge.tokenizer.pad_to_multiple_of is not None:
        fields["pad_to_multiple_of"] = Noted(merge.tokenizer.pad_to_multiple_of, "", merge.tokenizer.source.at)
    template, files = _template(merge.chat_template, f"{identifier(folder)}.jinja", templates, findings)
    return fields | template, files


def _dtype(merge: Merge) -> dict[str, Tree]:
    chosen = merge.out_dtype or merge.dtype
    if chosen is None:
        return {}
    note = ""
    if merge.dtype is not None and merge.dtype.text in ("float16", "bfloat16") and merge.method != "passthrough":
        note = "mergekit casts the inputs too" if chosen is merge.dtype else f"mergekit computes in {merge.dtype.text}"
    return {"dtype": Noted(chosen.text, note, chosen.at)}


def _files_from(merge: Merge, nodes: Nodes, findings: Findings) -> str | None:
    """The load node of the base, where the files would come from another model by themselves."""
    if merge.base is None or SIGNATURES[merge.method].base not in (Base.ANOTHER_INPUT, Base.FILES_ONLY):
        return None
    models = [source.model.text for piece in merge.slices for source in piece.sources]
    if merge.base.text == models[0]:
        return None
    loaded = nodes.loaded(merge.base.text)
    if loaded is None:
        fact = f"Config and tokenizer come from {models[0]}, because nothing else of {merge.base.text} is merged."
        findings.warning(
            fact,
            merge.base.at,
            "copy the files of the base over those of the output",
            "mergekit takes them from the base",
        )
    return loaded


def _template(
    given: Reference | None, file: str, templates: str, findings: Findings
) -> tuple[dict[str, Tree], dict[str, str]]:
    """`chat_template:` of the save node, and the file it names."""
    if given is None:
        return {}, {}
    text = given.text
    if text == "auto":
        fact = "`chat_template: auto` is the one that comes with the tokenizer here."
        why = "mergekit takes the template that most of the models have"
        findings.warning(fact, given.at, "delete the line, or write the template", why)
        return {}, {}
    if text == "chatml":
        text = _CHATML
    elif "{%" not in text:
        what = "mergekit's own template" if text in _BUILT_IN else "no Jinja template"
        fix = 'write the template itself: chat_template: "{% for message in messages %}…"; auto and chatml are known'
        findings.error(f'"{text}" is {what}, and cannot be imported.', given.at, fix)
    return {"chat_template": Noted(f"{templates}{file}", "", given.at)}, {file: text}
