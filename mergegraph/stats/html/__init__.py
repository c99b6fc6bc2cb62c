"""A record as one HTML file that needs nothing else: no network, no fonts, and for the main view no JavaScript."""

from mergegraph.stats.html.page import report

__all__ = ["report"]
