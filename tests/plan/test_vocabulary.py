"""Models with different vocabularies, merged end to end: rows matched by token text, gaps filled, files that follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergegraph import pipeline
from mergegraph.errors import RecipeError
from mergegraph.execute.executors.for_loop import for_loop
from mergegraph.execute.executors.threads import threads
from mergegraph.plan.encode import decode_expressions, encode_expressions
from mergegraph.plan.plan import Plan
from mergegraph.recipe.load import parse_recipe
from mergegraph.recipe.model import dump_recipe
from tests.execute.merging import merged, planned, tiled
from tests.tiny_models import Tensors, llama_tensors, write_model

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
BASE_TOKENS = ["<s>", "</s>", *"abcdefghijk"]
OWN_ORDER = ["a", "<s>", "c", "b", "</s>", *"defghijk"]
ROWS = 16
BASE = llama_tensors(vocab=ROWS)
TUNED = llama_tensors(noise_of=BASE, seed=1)


def tokenizer(tokens: Sequence[str], added: Sequence[str] = (), merges: Sequence[object] = ()) -> str:
    vocabulary = {token: row for row, token in enumerate(tokens)}
    listed = [{"id": len(tokens) + n, "content": token, "special": True} for n, token in enumerate(added)]
    model = {"type": "BPE", "vocab": vocabulary, "merges": list(merges)}
    return json.dumps({"version": "1.0", "model": model, "added_tokens": listed})


def write(folder: Path, tensors: Mapping[str, torch.Tensor], text: str, **config: object) -> Path:
    stated = {"model_type": "llama", "vocab_size": tensors[EMBEDDING].shape[0], **config}
    write_model(folder, tensors, config=stated)
    (folder / "tokenizer.json").write_text(text)
    return folder


def reordered(tensors: Tensors, tokens: Sequence[str], rows: int = ROWS) -> Tensors:
    """The model as one with this order of tokens stores it; rows of new tokens are theirs, padding is of 100s."""
    order = [BASE_TOKENS.index(token) if token in BASE_TOKENS else None for token in tokens]
    changed = dict(tensors)
    for name in (EMBEDDING, HEAD):
        moved = torch.full((rows, tensors[name].shape[1]), 100.0, dtype=tensors[name].dtype)
        for row, old in enumerate(order):
            moved[row] = tensors[name][old] if old is not None else float(row)
        moved[len(tokens) :] += torch.arange(rows - len(tokens)).unsqueeze(1)
        changed[name] = moved
    return changed


def two(folder: Path, tokens: Sequence[str] = OWN_ORDER, rows: int = ROWS, text: str = "", **config: object) -> Path:
    write(folder / "base", BASE, tokenizer(BASE_TOKENS), eos_token_id=1, bos_token_id=0)
    write(folder / "own", reordered(TUNED, tokens, rows), text or tokenizer(tokens), **config)
    return folder


def out(folder: Path, nodes: str, **options: object) -> Tensors:
    merged(planned(folder, nodes, output="out"), overwrite=True, **options)
    return load_file(folder / "out" / "model.safetensors")


def rows_of(name: str, tokens: Sequence[str]) -> torch.Tensor:
    return TUNED[name][[BASE_TOKENS.index(token) for token in tokens]]


LOADS = "base: {op: load, model: base}\nown: {op: load, model: own%s}\n"
COPY = "m: {op: soup, inputs: [own]}\nout: {op: save, input: m, path: out}"
SOUP = "m: {op: soup, inputs: [base, own]}\nout: {op: save, input: m, path: out}"


def test_a_permuted_vocabulary_is_refused_with_its_first_rows_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        planned(two(tmp_path), LOADS % "" + SOUP)
    (problem,) = refused.value.problems
    assert problem.why == "13 tokens each, 4 rows differ: row 0 is '<s>' and 'a'; row 1 is '</s>' and '<s>'; " \
        "row 2 is 'a' and 'c'"  # fmt: skip
    assert "`vocab: {align: base}`" in problem.fix
    assert '"own"' in problem.fix


def test_aligned_rows_stand_where_their_tokens_stand_there(tmp_path: Path) -> None:
    """13 tokens in 16 rows: tokens move, padding is that of the base, everything else is untouched."""
    found = out(two(tmp_path), LOADS % ", vocab: {align: base}" + COPY)
    for name in (EMBEDDING, HEAD):
        assert torch.equal(found[name][:13], TUNED[name][:13])
        assert torch.equal(found[name][13:], BASE[name][13:])
    assert all(torch.equal(found[name], TUNED[name]) for name in TUNED if name not in (EMBEDDING, HEAD))


def test_a_model_that_is_aligned_merges_as_if_it_had_been_so(tmp_path: Path) -> None:
    found = out(two(tmp_path), LOADS % ", vocab: {align: base}" + SOUP)
    assert torch.allclose(found[EMBEDDING][:13], (BASE[EMBEDDING][:13] + TUNED[EMBEDDING][:13]) / 2)


FILLED = [
    ("zero", lambda base, own: torch.zeros(8)),
    ("mean", lambda base, own: own.double().mean(0).float()),
    ("base", lambda base, own: base),
]


@pytest.mark.parametrize(("missing", "row"), FILLED, ids=[each[0] for each in FILLED])
def test_a_token_that_a_model_lacks_gets_the_row_that_was_asked_for(missing: str, row: object, tmp_path: Path) -> None:
    """The model knows neither `</s>` nor `k`, and has 11 rows without padding."""
    known = [token for token in OWN_ORDER if token not in ("</s>", "k")]
    two(tmp_path, known, rows=11)
    found = out(tmp_path, LOADS % f", vocab: {{align: base, missing: {missing}}}" + COPY)
    for name in (EMBEDDING, HEAD):
        wanted = TUNED[name].clone()
        for lacking in (1, 12):
            wanted[lacking] = row(BASE[name][lacking], rows_of(name, known))  # type: ignore[operator]
        wanted[13:] = BASE[name][13:]  # no token has these rows: padding is never filled in
        assert torch.equal(found[name], wanted)


def test_a_row_that_is_the_base_s_has_no_delta(tmp_path: Path) -> None:
    two(tmp_path, [*OWN_ORDER[:-1]], rows=12)
    nodes = LOADS % ", vocab: {align: base, missing: base}"
    found = out(tmp_path, nodes + "m: own - base\nout: {op: save, input: m, path: out, format: delta}")
    assert torch.equal(found[EMBEDDING][12:], torch.zeros(4, 8))
    assert (found[EMBEDDING][:12] != 0).any(dim=1).all()


def test_files_beside_the_weights_follow_the_vocabulary(tmp_path: Path) -> None:
    two(tmp_path, eos_token_id=[4, 0], bos_token_id=1, text_config={"pad_token_id": 2, "hidden_size": 8})
    (tmp_path / "own" / "generation_config.json").write_text('{"eos_token_id": 4, "temperature": 0.5}')
    out(tmp_path, LOADS % ", vocab: {align: base}" + COPY)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"], config["text_config"]["pad_token_id"]) == ([1, 2], 0, 4)
    assert (config["text_config"]["hidden_size"], config["vocab_size"]) == (8, 16)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == 1
    assert (tmp_path / "out" / "tokenizer.json").read_text() == tokenizer(BASE_TOKENS)


def test_a_token_id_without_its_token_is_no_id_any_more(tmp_path: Path) -> None:
    two(tmp_path, [*OWN_ORDER[:-1], "<pad>"], eos_token_id=4, pad_token_id=12)
    out(tmp_path, LOADS % ", vocab: {align: base}" + COPY)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"]) == (1, None)


def test_a_vocabulary_that_is_the_same_stays_a_copy(tmp_path: Path) -> None:
    plan = planned(two(tmp_path, BASE_TOKENS), LOADS % ", vocab: {align: base}" + COPY, output="out")
    assert all(tensor.is_copy for tensor in plan.outputs[0].tensors)
    assert all(read.rows is None for tensor in plan.outputs[0].tensors for read in tensor.reads)


UNION = (
    "base: {{op: load, model: base, vocab: {{union: [own]{}}}}}\n"
    "own: {{op: load, model: own, vocab: {{align: base}}}}\n"
)


def test_a_union_grows_the_vocabulary_into_the_padding_and_past_it(tmp_path: Path) -> None:
    new = ["ab", "<tool>", "cd", "<end>", "ef"]
    text = tokenizer([*OWN_ORDER, "ab", "x", "cd"], added=["<tool>", "<end>"], merges=["a b", "c d", "a x"])
    two(tmp_path, [*OWN_ORDER, "ab", "x", "cd", "<tool>", "<end>"], rows=18, text=text)
    found = out(tmp_path, UNION.format(", missing: base") + SOUP)
    assert found[EMBEDDING].shape == (18, 8)  # 13 + 5 new ones: no padding is left of 16 rows
    assert torch.allclose(found[EMBEDDING][:13], (BASE[EMBEDDING][:13] + TUNED[EMBEDDING][:13]) / 2)
    assert torch.equal(found[EMBEDDING][13:], torch.arange(13.0, 18).unsqueeze(1).expand(5, 8)), new
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == 18
    written = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert written["model"]["vocab"] == {token: row for row, token in enumerate([*BASE_TOKENS, "ab", "x", "cd"])}
    assert [(each["content"], each["id"], each["special"]) for each in written["added_tokens"]] == [
        ("<tool>", 16, True), ("<end>", 17, True),
    ]  # fmt: skip
    assert written["model"]["merges"] == ["a b", "c d"]  # `a x` makes no token


def test_all_models_of_one_union_agree(tmp_path: Path) -> None:
    two(tmp_path, [*OWN_ORDER, "new"], rows=14, eos_token_id=4)
    same = ", vocab: {union: [base, own], missing: zero}"
    nodes = f"base: {{op: load, model: base{same}}}\nown: {{op: load, model: own{same}}}\n"
    plan = planned(tmp_path, nodes + SOUP, output="out")
    assert plan.warnings == ()
    merged(plan)
    found = load_file(tmp_path / "out" / "model.safetensors")[EMBEDDING]
    assert torch.equal(found[13], torch.full((8,), 13.0) / 2)
    assert found.shape == (16, 8)


BROKEN = [
    ("base: {op: load, model: base, vocab: {align: nowhere}}", 'no node "nowhere"'),
    ("base: {op: load, model: base, vocab: {align: m}}", "takes load nodes"),
    ("base: {op: load, model: base, vocab: {align: own, union: [own]}}", "takes `align` or `union`, one of the two"),
    ("base: {op: load, model: base, vocab: {missing: zero}}", "takes `align` or `union`, one of the two"),
    ("base: {op: load, model: base, vocab: {align: own}}", "in a circle"),
    ("base: {op: load, model: base}\nbare: {op: load, model: bare, vocab: {align: base}}", '"bare" has no tokenizer'),
]


@pytest.mark.parametrize(("nodes", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_what_cannot_be_aligned_is_refused(nodes: str, said: str, tmp_path: Path) -> None:
    two(tmp_path)
    write_model(tmp_path / "bare", BASE)
    own = "own: {op: load, model: own, vocab: {align: base}}\n"
    inputs = "[base, own, bare]" if "bare" in nodes else "[base, own]"
    with pytest.raises(RecipeError) as refused:
        planned(tmp_path, f"{nodes}\n{own}m: {{op: soup, inputs: {inputs}}}\nout: {{op: save, input: m, path: out}}")
    assert said in str(refused.value)


def test_few_tokens_in_common_are_worth_a_warning(tmp_path: Path) -> None:
    two(tmp_path, ["<s>", *(f"Ġ{letter}" for letter in "abcdefghijkl")])
    (warning,) = planned(tmp_path, LOADS % ", vocab: {align: base}" + COPY).warnings
    assert warning.fact.startswith('"own" has 1 of the 13 tokens of "base"')


def large(folder: Path, missing: str) -> str:
    """Rows of 300 elements, 1,000 tokens of 1,024 rows, one in nine lacking: tiles begin in the middle of rows."""
    generator = torch.Generator().manual_seed(7)
    names = [f"t{n}" for n in range(1000)]
    kept = [name for n, name in enumerate(names) if n % 9]
    order = [kept[n] for n in torch.randperm(len(kept), generator=generator)]
    base = torch.randn(1024, 300, generator=generator).bfloat16()
    own = base[[names.index(name) for name in order]] + torch.randn(len(order), 300, generator=generator) * 0.01
    write(folder / "base", {EMBEDDING: base}, tokenizer(names))
    write(folder / "own", {EMBEDDING: own.bfloat16()}, tokenizer(order))
    nodes = LOADS % f", vocab: {{align: base, missing: {missing}}}"
    return nodes + "m: base + 0.3*(own - base)\nz: {op: ties, inputs: [own], base: base, density: 0.5}\n" \
        "out: {op: save, input: m, path: out}\nd: {op: save, input: z, path: d, format: delta}"  # fmt: skip


@pytest.mark.parametrize("missing", ["mean", "base", "zero"])
def test_no_bit_depends_on_tiles_or_threads(missing: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, large(tmp_path, missing))
    kept: dict[str, bytes] = {}
    for workers, elements in ((1, 65_536), (2, 131_072), (2, 262_144), (1, 0)):
        executor = threads if elements else for_loop
        merged(tiled(plan, workers, elements or 65_536), overwrite=True, executor=executor)
        for name in ("out", "d"):
            content = (tmp_path / name / "model.safetensors").read_bytes()
            assert kept.setdefault(name, content) == content
    found = load_file(tmp_path / "out" / "model.safetensors")[EMBEDDING].float()
    base, own = (load_file(tmp_path / name / "model.safetensors")[EMBEDDING].float() for name in ("base", "own"))
    rows = json.loads((tmp_path / "own" / "tokenizer.json").read_text())["model"]["vocab"]
    gap = {"mean": own.double().mean(0).bfloat16().float(), "zero": torch.zeros(300)}
    wanted = base.clone()
    for row in range(1000):
        x = own[rows[f"t{row}"]] if f"t{row}" in rows else gap.get(missing, base[row])
        wanted[row] = base[row] + 0.3 * (x - base[row])
    assert torch.allclose(found, wanted.bfloat16().float(), atol=1e-2)


def test_a_plan_with_views_survives_json(tmp_path: Path) -> None:
    plan = planned(tmp_path, large(tmp_path, "base"))
    roots = [tensor.root for output in plan.outputs for tensor in output.tensors]
    files = [file.path for file in plan.inputs]
    table, indices = encode_expressions(roots, files)
    assert decode_expressions(json.loads(json.dumps(table)), indices, files) == roots


def test_only_the_rows_that_are_needed_are_read(tmp_path: Path) -> None:
    two(tmp_path, [*OWN_ORDER, *(f"<{n}>" for n in range(100))], rows=113)
    plan = planned(tmp_path, LOADS % ", vocab: {align: base, missing: zero}" + COPY)
    rest = sum(value.nbytes for name, value in TUNED.items() if name not in (EMBEDDING, HEAD))
    tokens, padding = 13, 3
    assert plan.read_bytes == rest + 2 * (tokens + padding) * 8 * 4


def test_a_recipe_with_a_vocabulary_is_written_as_it_was_read(tmp_path: Path) -> None:
    text = "mergegraph: 1\nnodes:\n  " + (LOADS % ", vocab: {align: base, missing: zero}" + SOUP).replace("\n", "\n  ")
    recipe = parse_recipe(two(tmp_path, eos_token_id=4) and text, file="m.yaml", folder=tmp_path)
    again = parse_recipe(dump_recipe(recipe), file="m.yaml", folder=tmp_path)
    assert again.nodes["own"].method == recipe.nodes["own"].method
    assert pipeline.check(again).warnings == ()


# Rows that no token has


def padded_models(folder: Path) -> dict[str, Tensors]:
    """One vocabulary of 13 tokens; x has 3 rows more, y none, z 7."""
    made: dict[str, Tensors] = {}
    for seed, (name, rows) in enumerate({"x": 16, "y": 13, "z": 20}.items()):
        noise = llama_tensors(noise_of=BASE, seed=seed)
        tail = torch.full((7, 8), 50.0 + seed)
        made[name] = noise | {each: torch.cat([noise[each][:13], tail])[:rows] for each in (EMBEDDING, HEAD)}
        write(folder / name, made[name], tokenizer(BASE_TOKENS))
    return made


@pytest.mark.parametrize("node", ["0.5*one + 0.5*two", "one + 0.25*(two - one)"])
@pytest.mark.parametrize("missing", ["mean", "zero", "base"])
@pytest.mark.parametrize(("one", "two"), [("x", "y"), ("y", "x"), ("x", "z"), ("z", "x")])
def test_one_vocabulary_padded_to_two_sizes_is_refused_and_aligned_with_the_target_s_padding(
    one: str, two: str, missing: str, node: str, tmp_path: Path
) -> None:
    made = padded_models(tmp_path)
    loads = f"one: {{op: load, model: {one}}}\ntwo: {{op: load, model: {two}%s}}\n"
    nodes = f"m: {node}\nout: {{op: save, input: m, path: out}}"
    with pytest.raises(RecipeError) as refused:
        planned(tmp_path, loads % "" + nodes)
    assert all("`vocab: {align: NODE}`" in problem.fix for problem in refused.value.problems)
    found = out(tmp_path, loads % f", vocab: {{align: one, missing: {missing}}}" + nodes)
    share = 0.5 if "0.5" in node else 0.25
    for name in (EMBEDDING, HEAD):
        assert torch.equal(found[name][13:], made[one][name][13:])
        wanted = (1 - share) * made[one][name][:13] + share * made[two][name][:13]
        assert torch.allclose(found[name][:13], wanted, atol=1e-6)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["vocab_size"] == made[one][EMBEDDING].shape[0]


def test_a_stored_delta_leaves_the_padding_unchanged(tmp_path: Path) -> None:
    made = padded_models(tmp_path)
    write_model(
        tmp_path / "d", {name: 0.01 * each for name, each in made["z"].items()},
        config={"model_type": "llama", "vocab_size": 20}, metadata={"mergegraph.space": "delta"},
    )  # fmt: skip
    (tmp_path / "d" / "tokenizer.json").write_text(tokenizer(BASE_TOKENS))
    loads = "x: {op: load, model: x}\nd: {op: load, model: d, vocab: {align: x, missing: zero}}\n"
    found = out(tmp_path, loads + "m: x + d\nout: {op: save, input: m, path: out}")
    assert torch.equal(found[EMBEDDING][13:], made["x"][EMBEDDING][13:])
    assert torch.allclose(found[EMBEDDING][:13], (made["x"][EMBEDDING] + 0.01 * made["z"][EMBEDDING][:16])[:13])


def test_a_union_keeps_the_padding_that_its_first_model_has_left(tmp_path: Path) -> None:
    two(tmp_path, [*OWN_ORDER, "new"], rows=14)
    same = ", vocab: {union: [base, own]}"
    nodes = f"base: {{op: load, model: base{same}}}\nown: {{op: load, model: own{same}}}\n"
    found = out(tmp_path, nodes + SOUP)
    for name in (EMBEDDING, HEAD):
        assert torch.equal(found[name][14:], BASE[name][14:])


def test_a_row_from_a_model_that_was_aligned_itself_is_the_mean_that_it_got_there(tmp_path: Path) -> None:
    """`third` lacks `</s>`, takes it from `own`, and that one has only its mean there."""
    two(tmp_path, [token for token in OWN_ORDER if token != "</s>"], rows=12)
    write(tmp_path / "third", reordered(TUNED, "abcdefghijk", 11), tokenizer("abcdefghijk"))
    nodes = LOADS % ", vocab: {align: base}" + "third: {op: load, model: third, vocab: {align: own, missing: base}}\n"
    found = out(tmp_path, nodes + "m: {op: soup, inputs: [third]}\nout: {op: save, input: m, path: out}")
    known = [token for token in OWN_ORDER if token != "</s>"]
    assert torch.equal(found[EMBEDDING][1], rows_of(EMBEDDING, known).double().mean(0).float())
    assert torch.equal(found[EMBEDDING][13:], BASE[EMBEDDING][13:])


def test_padding_of_another_width_is_zero(tmp_path: Path) -> None:
    """Only the vocabulary is another's: its rows of padding do not fit, and none is needed."""
    two(tmp_path, OWN_ORDER, rows=13)
    write(tmp_path / "wide", llama_tensors(hidden=16), tokenizer(BASE_TOKENS))
    nodes = "wide: {op: load, model: wide}\n" + (LOADS % ", vocab: {align: wide}") + COPY
    found = out(tmp_path, nodes)
    assert torch.equal(found[EMBEDDING][13:], torch.zeros(3, 8))


# Rows up to a multiple


def padded(folder: Path, multiple: int) -> Plan:
    nodes = "base: {op: load, model: base}\nown: {op: load, model: own}\n"
    save = f"m: 0.5*base + 0.5*own\nout: {{op: save, input: m, path: out, pad_to_multiple_of: {multiple}}}"
    return planned(folder, nodes + save, output="out")


@pytest.mark.parametrize(("multiple", "rows"), [(1, 16), (8, 16), (7, 21), (64, 64)])
def test_embedding_and_head_are_padded_with_zeros(multiple: int, rows: int, tmp_path: Path) -> None:
    two(tmp_path, BASE_TOKENS)
    merged(padded(tmp_path, multiple))
    found = load_file(tmp_path / "out" / "model.safetensors")
    plain = out(tmp_path, LOADS % "" + SOUP)
    for name, value in plain.items():
        tail = rows - 16 if name in (EMBEDDING, HEAD) else 0
        assert torch.equal(found[name], torch.cat([value, torch.zeros(tail, 8)]) if tail else value)
    assert padded(tmp_path, multiple).outputs[0].sidecars.config["vocab_size"] == rows


def test_padding_is_in_the_checksum_whoever_computes(tmp_path: Path) -> None:
    two(tmp_path, BASE_TOKENS)
    checksums = []
    for executor in (threads, for_loop):
        merged(padded(tmp_path, 64), overwrite=True, executor=executor)
        checksums.append(json.loads((tmp_path / "out" / "mergegraph.json").read_text())["tensors"])
    assert checksums[0] == checksums[1]
