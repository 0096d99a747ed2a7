"""The screen that a real camera looks at: a process that shows clock codes and notes when each came on.

`python -m dp_bringup.calibration.screen --log FILE` fills the screen with a code, a new one every ``--hold`` refreshes,
until it is ended (SIGTERM, Escape). Each line of the log is a counter and the ROS (system) time in ns at which the
flip to it returned; drawing waits for the screen's refresh. Needs pygame and a display.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from dp_core.clock_code import GRID, code_cells

QUIET_CELLS = 1
#: A hold of a whole number of refreshes would let a camera of the same rate run in step with the screen for ever:
#: every so many codes one is held for a refresh longer.
LONGER_EVERY = 5
FALLBACK_HZ = 60
# No screen refreshes faster than this; a driver whose flips take less does not wait.
SHORTEST_REFRESH_S = 0.0025


def draw_code(surface: Any, counter: int) -> None:
    """Fill a pygame surface: white, with the code as large as it fits."""
    width, height = surface.get_size()
    cell = min(width, height) // (GRID + 2 * QUIET_CELLS)
    left, top = (width - GRID * cell) // 2, (height - GRID * cell) // 2
    surface.fill((255, 255, 255))
    surface.fill((0, 0, 0), (left, top, GRID * cell, GRID * cell))
    for row, column in np.argwhere(code_cells(counter)).tolist():
        surface.fill((255, 255, 255), (left + column * cell, top + row * cell, cell, cell))


def read_log(path: Path) -> dict[int, tuple[float, float]]:
    """Time in s at which each counter came on and the next one did; the last one, still on, is left out."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [line.split(",") for line in lines if line.count(",") == 1]
    shown = [(int(counter), 1e-9 * int(t_ns)) for counter, t_ns in rows]
    return {counter: (t_s, after_s) for (counter, t_s), (_, after_s) in pairwise(shown)}


def show(log: Path, hold: int) -> int:
    """Show codes until the end is asked for."""
    import pygame

    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    pygame.display.init()
    surface, flip = _full_screen(pygame)
    pygame.mouse.set_visible(False)
    counter = 0
    with log.open("w", buffering=1) as file:
        while not ended:
            draw_code(surface, counter)
            flip()
            file.write(f"{counter},{time.time_ns()}\n")
            for _ in range(hold - 1 + (counter % LONGER_EVERY == 0)):
                flip()
            keys = [event for event in pygame.event.get() if event.type in (pygame.KEYDOWN, pygame.QUIT)]
            if any(event.type == pygame.QUIT or event.key in (pygame.K_ESCAPE, pygame.K_q) for event in keys):
                break
            counter += 1
    pygame.quit()
    return 0


def _full_screen(pygame: Any) -> tuple[Any, Callable[[], None]]:
    """A surface of the whole screen, and what shows it at the screen's next refresh (or a 60th of a second later)."""
    size = pygame.display.get_desktop_sizes()[0]
    try:
        surface = pygame.display.set_mode(size, pygame.FULLSCREEN | pygame.SCALED, vsync=1)
        if _refresh_s(pygame) > SHORTEST_REFRESH_S:
            return surface, pygame.display.flip
    except pygame.error:
        surface = pygame.display.set_mode(size, pygame.FULLSCREEN)
    print("warning: flips do not wait for the screen's refresh: times are up to one refresh early", flush=True)
    clock = pygame.time.Clock()

    def flip() -> None:
        pygame.display.flip()
        clock.tick(FALLBACK_HZ)

    return surface, flip


def _refresh_s(pygame: Any) -> float:
    """Time that a flip takes, s."""
    begin = time.monotonic()
    for _ in range(20):
        pygame.display.flip()
    return (time.monotonic() - begin) / 20


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Show clock codes full screen.")
    parser.add_argument("--log", type=Path, required=True, help="CSV of counter and time in ns")
    parser.add_argument("--hold", type=int, default=2, help="refreshes for which each code stays (default: 2)")
    args = parser.parse_args()
    try:
        return show(args.log, args.hold)
    except ImportError as error:
        print(f"error: the screen needs pygame ({error}); install it with: pip install pygame", file=sys.stderr)
    except Exception as error:
        print(f"error: no full-screen window: {error}; is there a display (DISPLAY, WAYLAND_DISPLAY)?", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
