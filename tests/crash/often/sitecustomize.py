"""With this folder on PYTHONPATH, the command as it is commits after every 128 KiB: a small merge has many states."""

from mergegraph.tensors import writer

writer.COMMIT_BYTES = 128 * 1024
