"""The operations: one file an idea, one class a method. A file here is found by itself (`registry.py`)."""
