"""Widgets show; the document knows. Each is given plain values and reports what the user does as messages."""
