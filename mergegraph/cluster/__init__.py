"""One merge on many machines: a driver hands shards out, workers write attempts at them, the driver puts them together.

The driver knows no engine but a `Pool`; `ray_pool.py` is one.
"""
