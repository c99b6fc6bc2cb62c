"""What model folders name as their base, and when two of them contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.tensors.declared import contradict, declared_bases, front_matter

DECLARED = [
    ("the card", {"README.md": "---\nbase_model: meta/llama\n---\n"}, {}, ("meta/llama",)),
    ("several in the card", {"README.md": "---\nbase_model:\n- a/x\n- b/y\n---"}, {}, ("a/x", "b/y")),
    ("an old config", {}, {"_name_or_path": "meta/llama"}, ("meta/llama",)),
    ("a folder of whoever trained it", {}, {"_name_or_path": "/out/checkpoint-500"}, ()),
    ("an adapter", {"adapter_config.json": '{"base_model_name_or_path": "meta/llama"}'}, {}, ("meta/llama",)),
    ("a card without a base", {"README.md": "---\nlicense: mit\n---\n"}, {}, ()),
    ("a card that is not YAML", {"README.md": "---\na: [\n---\n"}, {"_name_or_path": 3}, ()),
    ("an adapter config that is not JSON", {"adapter_config.json": "{"}, {}, ()),
]


@pytest.mark.parametrize(("why", "files", "config", "bases"), DECLARED, ids=[each[0] for each in DECLARED])
def test_what_a_folder_names(
    why: str, files: dict[str, str], config: dict[str, object], bases: tuple[str, ...], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert declared_bases(tmp_path, config) == bases, why


@pytest.mark.parametrize(
    ("ours", "theirs", "do"),
    [
        (["meta/Llama-3-8B"], ["./models/llama-3-8b/"], False),  # the last part is the name
        (["meta/llama-3-8b@main"], ["llama-3-8b"], False),
        (["a/x", "a/y"], ["b/y"], False),
        (["a/x"], ["a/y"], True),
        (["a/x"], [], False),
    ],
)
def test_who_contradicts(ours: list[str], theirs: list[str], do: bool) -> None:
    assert contradict(ours, theirs) is do


def test_a_folder_without_a_card_has_no_front_matter(tmp_path: Path) -> None:
    assert front_matter(tmp_path) == {}
