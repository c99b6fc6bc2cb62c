"""The app with a pilot: keys and the mouse, and a wait until what they began has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from mergegraph_tui.app import MergegraphApp
from textual.pilot import Pilot

SIZE = (120, 40)


def drive(
    app: MergegraphApp,
    act: Callable[[MergegraphApp, Pilot[int]], Awaitable[None]],
    size: tuple[int, int] = SIZE,
    *,
    notifications: bool = False,
) -> None:
    """Run the app without a terminal, and `act` on it once its first check is done. `notifications`: whether what it
    says in passing is kept, and lies over a corner of the screen."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=notifications) as pilot:
            await settle(app, pilot)
            await act(app, pilot)

    asyncio.run(run())


async def settle(app: MergegraphApp, pilot: Pilot[int], seconds: float = 20.0) -> None:
    """Until the newest text is checked and shown."""
    until = monotonic() + seconds
    while app.workspace.checked.text != app.workspace.document.text:
        assert monotonic() < until, "the text was not checked"
        await pilot.pause(0.01)
    await pilot.pause()


async def press(app: MergegraphApp, pilot: Pilot[int], *keys: str) -> None:
    """Keys one after the other, and what comes of them."""
    await pilot.press(*keys)
    await settle(app, pilot)


async def until(pilot: Pilot[int], holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Until something is so: a dialog is there, what a thread looks for has come."""
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end, "it did not come"
        await pilot.pause(0.01)
    await pilot.pause()


def told(app: MergegraphApp) -> list[str]:
    """What the app says in passing, newest last; `drive` it with notifications."""
    return [each.message for each in app._notifications]


def screen_text(app: MergegraphApp) -> str:
    """What is on the screen, as text."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())
