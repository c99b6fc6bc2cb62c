"""Recipes: a YAML file (`load`) to a checked value (`model`); expressions, includes, settings and sweeps on the way."""
