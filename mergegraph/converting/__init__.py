"""Pickled checkpoints become safetensors folders: `mergegraph convert`. Nothing else here opens a pickle.

convert.py    the whole way, from a file or folder to a finished output
sources.py    which pickled files are the model
contents.py   what a file holds, as the child says; what of it is written
worker.py     the child process, seen from this side
child.py      the child: answers questions about one file at a time, in JSON, and sends bytes
confine.py    what the child takes from itself before it opens anything
archive.py    whether a file is the zip archive that torch.save writes
unpickle.py   the only module that unpickles, and the only one here that needs torch
"""
