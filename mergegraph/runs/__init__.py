"""Runs seen from other processes: which live, how far they are, how they ended. Imports neither torch nor a screen.

progress.py     the record that a run publishes, and reading it back
folder.py       the folder of one run: what lies in it, and whether the run lives
registering.py  the run's side: it says that it is there, and how it ended
ending.py       how a run ended, as values
following.py    the watcher's side: find runs, read them, pause, go on, stop
"""
