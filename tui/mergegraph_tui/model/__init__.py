"""The document behind the screens: text, edits, undo, checking, forms. Nothing here knows of a terminal."""
