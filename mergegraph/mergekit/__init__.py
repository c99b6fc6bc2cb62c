"""Configurations of mergekit, written out as recipes with the same numbers: `importing` is the way in."""
