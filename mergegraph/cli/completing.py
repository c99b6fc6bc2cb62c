"""How language models go on with a text, by transformers (extra `eval`). Torch and transformers are imported when they
are needed; one model at a time is in memory, whole, which is the one place where mergegraph holds a model so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, cast

from mergegraph.cli.adapters import models_alone
from mergegraph.errors import DoesNotFit, InputError, Location, Problem, RecipeError, RunError
from mergegraph.plan.free_memory import free_memory_bytes
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.units import format_bytes, format_count

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""One of these holds the tokens themselves."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """`temperature` 0 takes the likeliest token each time; above, tokens are drawn from `seed`. `chat`: the prompt is
    what a user says, in the model's chat template. `device`: cpu, cuda or cuda:N."""

    prompts: tuple[str, ...]
    tokens: int = 40
    temperature: float = 0.0
    seed: int = 0
    chat: bool = False
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said after a prompt, and in how many tokens."""

    prompt: str
    text: str
    tokens: int


def require_transformers() -> Any:
    """The package, quiet. RecipeError says what to install."""
    try:
        with warnings.catch_warnings(action="ignore"):
            transformers: Any = import_module("transformers")
    except ImportError as error:
        fact = "A model is tried with transformers, which is not installed."
        raise RecipeError(Problem(fact, why=str(error), fix="pip install 'mergegraph[eval]'")) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def require_language_model(model: Path, *, device: str) -> None:
    """That `model` is the folder of one that can go on with a text, by its headers and files. InputError says what else
    it is, DoesNotFit that it is larger than the memory that is free."""
    with models_alone():
        checkpoint = open_checkpoint(str(model.absolute()), Path.cwd())
    if not checkpoint.is_folder:
        fix = f"name the folder that has config.json and tokenizer too: {model.parent}"
        raise InputError(Problem(f"{model} is one file, not the folder of a model.", fix=fix))
    if checkpoint.space == "delta":
        fix = "add it to its base first: {op: sum, inputs: [BASE, DELTA]}"
        raise InputError(Problem(f"{model} is a delta, not a model.", fix=fix))
    _require_architecture(model, checkpoint.config)
    if not any((model / name).is_file() for name in _TOKENIZERS):
        why = f"there is none of {', '.join(_TOKENIZERS)}"
        fix = "copy the tokenizer's files of its base into the folder, or merge with `tokenizer_from: NODE`"
        raise InputError(Problem(f"{model} has no tokenizer.", why=why, fix=fix))
    stored = sum(file.file_bytes for file in checkpoint.files)
    free = free_memory_bytes()
    if device == "cpu" and free is not None and stored > free:
        fact = f"{model} needs {format_bytes(stored)} of memory, and {format_bytes(free)} is free."
        why = "transformers loads a model whole, unlike a merge"
        raise DoesNotFit(Problem(fact, why=why, fix="--device cuda, or another machine"))


def completions(model: Path, asked: Asked) -> list[Completion]:
    """One for each prompt. InputError where transformers cannot load the model; RunError where its weights are not
    complete, or give no numbers."""
    with warnings.catch_warnings(action="ignore"):
        loaded = _Loaded.at(model, asked)
        return [loaded.complete(prompt) for prompt in asked.prompts]


@dataclass(frozen=True)
class _Loaded:
    """A model of transformers with its tokenizer."""

    folder: Path
    model: Any
    tokenizer: Any
    asked: Asked

    @classmethod
    def at(cls, folder: Path, asked: Asked) -> _Loaded:
        transformers = require_transformers()
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, found = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto", local_files_only=True, output_loading_info=True
            )
        except Exception as error:
            _not_loaded(folder, error)
        _require_complete(folder, found)
        if asked.chat and not tokenizer.chat_template:
            fix = "leave --chat out, or merge with `chat_template: FILE`"
            raise InputError(Problem(f"{folder} has no chat template.", Location("--chat"), fix=fix))
        return cls(folder, model.to(asked.device).eval(), tokenizer, asked)

    def complete(self, prompt: str) -> Completion:
        torch: Any = import_module("torch")
        given = self.encoded(prompt)
        begin = given["input_ids"].shape[1]
        self.require_room(begin)
        with torch.inference_mode():
            if not self.model(**given).logits[0, -1].isfinite().all():
                fix = "merge again without --allow-non-finite: the tensor that has them is named"
                raise RunError(Problem(f"{self.folder} computes NaN or Inf.", fix=fix))
            torch.manual_seed(self.asked.seed)
            ids = self.model.generate(**given, generation_config=self.settings())[0, begin:]
        return Completion(prompt, self.tokenizer.decode(ids, skip_special_tokens=True), len(ids))

    def encoded(self, prompt: str) -> Mapping[str, Any]:
        """The tokens of a prompt, on the device. InputError where there are none to begin with."""
        if self.asked.chat:
            said = [{"role": "user", "content": prompt}]
            encoded: Any = self.tokenizer.apply_chat_template(
                said, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            encoded = self.tokenizer(prompt, return_tensors="pt")
        if not encoded["input_ids"].numel():
            raise InputError(Problem("The prompt has no tokens.", Location(f"--prompt {prompt!r}"), fix="write a word"))
        kept = {key: encoded[key] for key in ("input_ids", "attention_mask") if key in encoded}
        return {key: tensor.long().to(self.asked.device) for key, tensor in kept.items()}

    def require_room(self, prompt_tokens: int) -> None:
        room: object = getattr(self.model.config, "max_position_embeddings", None)
        if isinstance(room, int) and prompt_tokens + self.asked.tokens > room:
            fact = f"{self.folder} takes {room:,} tokens, and the prompt has {prompt_tokens:,}."
            fix = f"--tokens {room - prompt_tokens}" if room > prompt_tokens else "shorten the prompt"
            raise RecipeError(Problem(fact, Location(f"--tokens {self.asked.tokens}"), fix=fix))

    def settings(self) -> Any:
        """Only what was asked for: a model's own generation_config.json may hold penalties that hide what it says."""
        own, asked = self.model.generation_config, self.asked
        drawn: dict[str, Any] = {"temperature": asked.temperature, "top_k": 0} if asked.temperature else {}
        pad = next((each for each in (own.pad_token_id, own.eos_token_id) if each is not None), None)
        return require_transformers().GenerationConfig(
            max_new_tokens=asked.tokens, do_sample=asked.temperature > 0, eos_token_id=own.eos_token_id,
            pad_token_id=pad[0] if isinstance(pad, list) else pad, **drawn,
        )  # fmt: skip


def _require_architecture(model: Path, config: Mapping[str, Any]) -> None:
    names: Any = import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    listed: object = config.get("architectures")
    classes = [str(name) for name in cast("list[object]", listed)] if isinstance(listed, list) else []
    if not config:
        raise InputError(Problem(f"{model} has no config.json.", fix="copy that of its base into the folder"))
    if not classes and config.get("model_type") in names:
        return
    if not classes or classes[0] not in {str(name) for name in names.values()}:
        kind = classes[0] if classes else str(config.get("model_type", "nothing"))
        why = f"its config.json says {kind}; `try` takes what transformers loads as AutoModelForCausalLM"
        fix = "measure it with an evaluator of your own: mergegraph search"
        raise InputError(Problem(f"{model} is no model that goes on with a text.", why=why, fix=fix))


def _require_complete(model: Path, found: Mapping[str, Any]) -> None:
    """transformers fills a tensor that is missing with random numbers."""
    missing = sorted(map(str, found.get("missing_keys", ())))
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else "")
        fact = f"{model} lacks {format_count(len(missing), 'tensor')} that its config.json asks for."
        raise RunError(Problem(fact, why=shown, fix="compare config.json with that of its base"))


def _not_loaded(model: Path, error: Exception) -> NoReturn:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    fix = f"mergegraph info {model} shows what it holds; code that a model brings along is not run"
    raise InputError(Problem(f"transformers cannot load {model}.", why=first, fix=fix)) from error
