"""The table of streams: rate, jitter, delay, longest gap, age and losses of each, problems first in colour."""

from __future__ import annotations

from collections.abc import Sequence

from dp_bringup.operator_desk.style import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    Style,
    display_width,
    printable,
    shorten_middle,
)
from dp_msgs.msg import StreamState

_FIGURES = "{rate:>7s}{expected:>5s}{jitter:>8s}{delay:>8s}{gap:>7s}{age:>7s}{lost:>6s}"
_FIGURES_WIDTH = 48
_HEAD = {name: name for name in ("jitter", "delay", "gap", "age", "lost")} | {"rate": "Hz", "expected": "of"}


def stream_table(streams: Sequence[StreamState], style: Style, room: int) -> list[str]:
    """The table.

    Args:
        streams: Of the recorder. Optional ones are shown once something came of them.
        style: Width and colours.
        room: Most lines; streams that are well give way first.
    """
    shown = [stream for stream in streams if stream.required or stream.received or stream.problem or stream.age_s >= 0]
    hidden = 0
    if len(shown) > room - 1:
        # The worst first, then in the order of the contract.
        ranked = sorted(shown, key=lambda stream: (not stream.problem, not stream.required))
        kept = ranked[: max(room - 2, 0)]
        hidden = len(shown) - len(kept)
        shown = [stream for stream in shown if stream in kept]
    name_width = max(8, style.columns - _FIGURES_WIDTH - 2)
    head = "  " + "stream".ljust(name_width) + _FIGURES.format(**_HEAD)
    lines = [style.line(head, DIM), *(_row(stream, style, name_width) for stream in shown)]
    if hidden:
        lines.append(style.line(f"  and {hidden} more that are well, or do not fit", DIM))
    return lines[: max(room, 1)]


def _row(stream: StreamState, style: Style, name_width: int) -> str:
    name = shorten_middle(printable(stream.topic.lstrip("/")), name_width).ljust(name_width)
    figures = _FIGURES.format(
        rate=f"{stream.rate_hz:.1f}",
        expected=f"{stream.expected_rate_hz:g}" if stream.expected_rate_hz else "-",
        jitter=f"{1e3 * stream.jitter_s:.1f}ms" if stream.expected_rate_hz else "-",
        delay=_milliseconds(stream.delay_s),
        gap=_seconds(stream.max_gap_s) if stream.expected_rate_hz else "-",
        age=_seconds(stream.age_s) if stream.age_s >= 0 or stream.age_s < -1 else "-",
        lost=str(stream.lost + stream.dropped),
    )
    lost = stream.lost + stream.dropped > 0
    bad = bool(stream.problem)
    mark = "!" if bad else ("+" if stream.required else " ")
    colour = RED if bad else (YELLOW if lost else (GREEN if stream.required else DIM))
    plain = f"{mark} {name}{figures}"
    if display_width(plain) > style.columns:
        return style.line(plain, colour)
    return style.paint(mark, colour, BOLD) + " " + style.paint(f"{name}{figures}", colour if bad or lost else "")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.0f}ms" if abs(seconds) < 10.0 else f"{seconds:.0f}s" if abs(seconds) < 1e5 else "?"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}s" if abs(seconds) < 100.0 else f"{seconds:.0f}s" if abs(seconds) < 1e5 else "?"
