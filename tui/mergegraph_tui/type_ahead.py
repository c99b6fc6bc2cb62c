"""Keys that are typed ahead: each waits until what the one before it began is there, a dialog or what lies below it.

Textual passes every key on at once. Of a burst (a paste, a slow line that brings keys together) the key behind an Enter
would still reach the dialog that Enter is about to close, and be lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from textual import events
from textual.app import App, ScreenError
from textual.css.query import NoMatches

from mergegraph_tui.dialogs.dialog import Dialog

_TURNS = 50
"""Of the event loop: what a key began goes from widget to widget, a turn each. 5 are too few for a recipe that is built
by one burst, 10 are enough (`tests/tui/app/test_building.py`)."""
_LOOK_SECONDS = 0.01
_MOST_SECONDS = 1.0
"""A key is never held longer, whatever the screen does."""


class TypeAhead(App[int]):
    """Letters that a field takes follow each other at once; every other key is waited for. None is passed on before
    `begin_passing_keys`: what it is for is not there yet."""

    def __init__(self) -> None:
        super().__init__()
        self._typed: deque[events.Key | events.Paste] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._passes_keys = False

    def begin_passing_keys(self) -> None:
        """What the first keys are for is on the screen."""
        self._passes_keys = True
        self.call_later(self._pass_on)

    @property
    def keys_wait(self) -> bool:
        """Whether a key is not passed on yet, or what the last one began is not there yet."""
        return bool(self._typed) or self._settling is not None

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._typed.append(event)
            await self._pass_on()
        else:
            await super().on_event(event)

    async def _pass_on(self) -> None:
        """The keys that wait, up to the first one that is to be waited for."""
        while self._passes_keys and self._typed and self._settling is None:
            typed = self._typed.popleft()
            is_letter = self._is_letter(typed)
            await super().on_event(typed)
            if not is_letter:
                self._settling = asyncio.create_task(self._hold())

    def _is_letter(self, typed: events.Key | events.Paste) -> bool:
        """Whether it goes into a field."""
        if isinstance(typed, events.Paste):
            return True
        return self.focused is not None and self.focused.check_consume_key(typed.key, typed.character)

    async def _hold(self) -> None:
        """Keep the keys that come now until what the last one began is there."""
        with suppress(TimeoutError, ScreenError, NoMatches):
            async with asyncio.timeout(_MOST_SECONDS):
                await self._until_screen_answers()
        self._settling = None
        self.call_later(self._pass_on)

    async def _until_screen_answers(self) -> None:
        """Until what the key led to is through, and the screen that is shown by then has its widgets and its focus."""
        shown = None
        while shown is not self.screen:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            shown, answered = self.screen, asyncio.Event()
            if shown.call_later(answered.set):
                await answered.wait()
            while isinstance(shown, Dialog) and shown.is_busy and shown is self.screen:
                await asyncio.sleep(_LOOK_SECONDS)
