"""Searches: what to merge, and with which numbers, decided by an evaluator. A driver of the engine, not a second one.

    SEARCH.yaml --load_search--> Search --prepare--> strategy <--asks and scores--> driver --> ledger, recipe

document.py     SEARCH.yaml to a Search, or everything that is wrong with it
kinds.py        what each kind of search may say; evaluators.py: how a model is evaluated
scoring.py      metrics to one score; whether a candidate is accepted; outcome.py: what an evaluation gave
predictions.py  accuracy, loss and calibration from probabilities; ensembles
greedy.py, line.py, grid.py, ablation.py, comparison.py, tuning.py
                the strategies: generators that ask for scores and know neither engine nor evaluator
recipes.py      candidates as recipes
driver.py       asks answered: cached, made, evaluated, within the budget; ledger.py: what is on disk of it
worker.py       the process in which an evaluator runs; asking.py: that process seen from this side
tensors.py      the read-only mapping that an evaluator may take in place of a folder
summary.py      a ledger as plain values for whoever shows it; text.py, html/: tables and plots
"""
