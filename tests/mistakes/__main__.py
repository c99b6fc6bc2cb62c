"""Prints docs/mistakes.md."""

import os
import tempfile

from tests.mistakes.mistake import tried_anywhere
from tests.mistakes.page import page

nowhere = tempfile.gettempdir()
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": nowhere, "XDG_STATE_HOME": nowhere}
print("\n".join(page(tried_anywhere)))
