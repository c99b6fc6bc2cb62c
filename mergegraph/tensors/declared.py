"""What a model folder says of itself: the front matter of its card, and the models that it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import yaml

from mergegraph.tensors.sources.door import read_text
from mergegraph.tensors.sources.place import Place, file_bytes_of

_CARD_LENGTH = 65_536
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_MOST_CONFIG_BYTES = 1_000_000


def front_matter(folder: Place) -> dict[str, Any]:
    """The front matter of a folder's README.md; {} where it has none that can be read."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    matter = re.match(r"---\r?\n(.*?)\r?\n---", read_text(path, "replace")[:_CARD_LENGTH], re.DOTALL)
    try:
        values: Any = yaml.safe_load(matter[1]) if matter else {}
    except yaml.YAMLError:
        return {}
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {}


def declared_bases(folder: Place, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The models that a folder names as its base, as written: in its card, its config, its adapter's config.

    `_name_or_path` counts where it is a Hub id; mostly it is a folder on the machine that trained the model.
    """
    card: Any = front_matter(folder).get("base_model")
    former: Any = config.get("_name_or_path")
    adapter: Any = _adapter_config(folder).get("base_model_name_or_path")
    named = [*(cast("list[Any]", card) if isinstance(card, list) else [card]), adapter]
    named += [former] if isinstance(former, str) and _HUB_ID.fullmatch(former) else []
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def same_model(one: str, other: str) -> bool:
    """Whether two names may mean one model: the last part of the path or id decides, letter case aside."""
    return _last_part(one) == _last_part(other)


def contradict(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether two models name bases, and none in common."""
    ours, theirs = list(ours), list(theirs)
    return bool(ours) and bool(theirs) and not any(same_model(one, other) for one in ours for other in theirs)


def _last_part(name: str) -> str:
    return name.partition("@")[0].rstrip("/").rpartition("/")[2].lower()


def _adapter_config(folder: Place) -> Mapping[str, Any]:
    path = folder / "adapter_config.json"
    try:
        if not path.is_file() or file_bytes_of(path) > _MOST_CONFIG_BYTES:
            return {}
        config: Any = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", config) if isinstance(config, dict) else {}
