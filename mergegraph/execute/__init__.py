"""A plan is run: tiles are read, computed and written within the budget. The only package that computes with torch."""
