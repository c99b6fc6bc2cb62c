# %% [markdown]
# # A merge, step by step
#
# Cells begin with `# %%`, as VS Code, PyCharm, Spyder and jupytext read them. As a script, from anywhere:
#
#     python recipes/notebook.py
#
# It takes the small language models that lie in `recipes/models`, and writes to `recipes/out/notebook`.

# %%
from pathlib import Path

import mergegraph as mg
from mergegraph.stats.metrics import METRICS, Subject
from mergegraph.stats.predict import constant, equal_contributions, predict_whole
from mergegraph.stats.summary import grid

# A notebook has no file of its own, and starts in this folder or beside it.
HERE = (
    Path(__file__).resolve().parent if "__file__" in globals() else Path("recipes" if Path("recipes").is_dir() else ".")
)
MODELS = HERE / "models" / "tiny-llama"

# %% [markdown]
# ## Load
# A handle stands for a model; nothing is read before the recipe is planned. A difference of models is a delta: what
# training changed.

# %%
base, french, python = (mg.load(MODELS / name) for name in ("base", "french", "python"))
d_french, d_python = french - base, python - base
print(base, d_french, sep="\n")

# %% [markdown]
# ## Compose
# A merge is a recipe that was not run yet. Printed, it is YAML that `mergegraph run` takes.

# %%
half = mg.save(base + 0.5 * d_french + 0.5 * d_python, HERE / "out" / "notebook" / "half")
print(half)

# %% [markdown]
# ## Look before it is made
# `stats` measures what the merge would do, tensor by tensor, and writes nothing.

# %%
(record,) = half.stats()
table = grid(record)
relative = METRICS["relative"]
print(f"{relative.label}: {relative.formula}")
for row in table.rows:
    layer = table.by_row[row].all
    if layer is not None:
        changes = [(name, relative.value(layer, Subject(name, number))) for number, name in enumerate(record.sources)]
        print(f"  layer {row:<8}", *(f"{name} {change:.4f}" for name, change in changes))

# %% [markdown]
# ## Predict
# What other strengths would do follows from the inner products of the changes, their Gram matrix: no weight is read
# again. Retention is how much of a source is left in the result, along its own direction.

# %%
for strengths in ((0.3, 0.3), (0.5, 0.5), (0.8, 0.8), (1.0, 0.0)):
    told = predict_whole(record.tensors, constant(strengths))
    assert told is not None
    kept = " ".join(f"{share:.2f}" for share in told.retention if share is not None)
    print(f"  strengths {strengths}: relative change {told.relative:.4f}, retention {kept}")

even = predict_whole(record.tensors, equal_contributions)
assert even is not None
print(
    "  each pushing equally hard, tensor by tensor: retention", *(f"{share:.2f}" for share in even.retention if share)
)

# %% [markdown]
# ## Merge
# A strength for each kind of tensor: rules, the first that fits counts. The run reports what it took.

# %%
by = [{"kind": "embedding", "value": 0.3}, {"kind": "attention", "value": [0.4, 0.8]}, {"value": 0.6}]
merged = base + mg.scale(d_french, by=by) + mg.scale(d_python, by=by)
report = mg.save(merged, HERE / "out" / "notebook" / "by-kind", dtype="bfloat16").run(overwrite=True)
print(f"{report.tensors} tensors, {report.write_bytes:,} bytes written, {report.seconds:.1f} s")

# %% [markdown]
# ## Use it
# The folder is one that transformers loads: `AutoModelForCausalLM.from_pretrained("recipes/out/notebook/by-kind")`.
# `mergegraph try recipes/out/notebook/by-kind` lets it go on with a text, `python recipes/evaluate.py` measures it.

# %%
for node, path in report.outputs.items():
    print(node, "->", path, sorted(file.name for file in Path(path).iterdir()))
