"""Searches: what to merge, and with which numbers, decided by an evaluator. A driver of the engine, not a second one.

    SEARCH.yaml --load_search--> Search --prepare--> strategy <--asks and scores--> driver --> ledger, recipe

document.py     SEARCH.yaml to a Search, or everything that is wrong with it
kinds.py        what each kind of search may say; evaluators.py: how a model is evaluated
scoring.py      metrics to one score, and whether a candidate is accepted; outcome.py: what an evaluation gave
predictions.py  accuracy, loss and calibration from probabilities; ensembles
greedy.py, grid.py, line.py, ablation.py, comparison.py, tuning.py
                the strategies: they ask for scores (candidates.py says how) and know neither engine nor evaluator
recipes.py      candidates as recipes; variants.py: candidates from a recipe file; settings.py: what is tried in one
preparing.py    a search to its strategy, with all that can be found out before it begins
run.py          from the file to the recipe that is found
driver.py       answers strategies: from the ledger, or by making and evaluating, within the limits
making.py       candidates to folders, by the engine
ledger.py       what is on disk of it all; known.py: the evaluations in it
worker.py       the process in which evaluators run; asking.py: that process seen from this side
tensors.py      the read-only mapping that an evaluator may take in place of a folder; lm_eval.py: its tasks
summary.py      a ledger as plain values for whoever shows it
text.py, plots.py, page.py, picture.py
                shown on a terminal, as HTML, as PNG
"""
