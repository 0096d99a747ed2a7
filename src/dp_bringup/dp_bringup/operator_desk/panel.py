"""What the desk shows: pure rendering of the recorder's state into lines that fit the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from dp_bringup.operator_desk.keys import HELP, hint
from dp_bringup.operator_desk.stream_table import stream_table
from dp_bringup.operator_desk.style import BOLD, CYAN, DIM, GREEN, RED, REVERSE, YELLOW, Style, shorten
from dp_msgs.msg import EpisodeState

STATE_NAMES = {
    EpisodeState.IDLE: "READY",
    EpisodeState.COUNTDOWN: "COUNT-DOWN",
    EpisodeState.RECORDING: "RECORDING",
    EpisodeState.CLOSING: "CLOSING",
    EpisodeState.RESET: "RESET",
    EpisodeState.FAILED: "FAILED",
}
_STATE_COLOURS = {
    EpisodeState.IDLE: GREEN,
    EpisodeState.COUNTDOWN: YELLOW,
    EpisodeState.RECORDING: RED,
    EpisodeState.CLOSING: YELLOW,
    EpisodeState.RESET: CYAN,
    EpisodeState.FAILED: RED,
}
_VERDICT_COLOURS = {"good": GREEN, "suspect": YELLOW, "bad": RED}
_MOST_WARNINGS = 5
_MOST_REASONS = 3


@dataclass(frozen=True)
class DeskView:
    """Everything that the panel shows.

    Attributes:
        cell: Name of the cell.
        state: Of the recorder; None before it was heard.
        silent_s: Time since the recorder was last heard, s.
        control: Mode of control and what it says; empty: not heard.
        control_ok: The arm follows the operator.
        device: The SpaceMouse in words; empty: not heard.
        device_ok: It delivers.
        message: The last answer to a key.
        message_ok: It was a yes.
        asks_to_quit: The desk waits for a second `q`.
        shows_help: Show the help instead of the streams.
        domain: ROS domain, for other terminals; empty: not shown.
    """

    cell: str
    state: EpisodeState | None = None
    silent_s: float = 0.0
    control: str = ""
    control_ok: bool = True
    device: str = ""
    device_ok: bool = True
    message: str = ""
    message_ok: bool = True
    asks_to_quit: bool = False
    shows_help: bool = False
    domain: str = ""


def render(view: DeskView, columns: int, rows: int, *, colour: bool = True) -> list[str]:
    """The panel.

    Args:
        view: What to show.
        columns: Width of the terminal.
        rows: Height; the streams that are well give way first.
        colour: Use ANSI colours.

    Returns:
        Lines no wider than ``columns`` on the screen, at most ``rows``.
    """
    style = Style(columns, colour)
    if view.state is None:
        waiting = [style.line(f"dp record  {view.cell}", BOLD), "", style.line("waiting for the recorder ...", YELLOW)]
        return [*waiting, *_arm(view, style), *_answer(view, style)][:rows]
    head = [*_head(view, view.state, style), *_plan(view.state, style), *_arm(view, style)]
    foot = [*_disk(view.state, style), *_last(view.state, style), *_warnings(view, view.state, style)]
    foot += [*_answer(view, style), style.line(hint(view.state.state), DIM)]
    room = rows - len(head) - len(foot) - 2
    body = _help(view.domain, style, room) if view.shows_help else stream_table(view.state.streams, style, room)
    return [*head, "", *body, "", *foot][:rows]


def _head(view: DeskView, state: EpisodeState, style: Style) -> list[str]:
    name = STATE_NAMES.get(state.state, f"state {state.state}")
    clock = ""
    if state.state in (EpisodeState.COUNTDOWN, EpisodeState.RESET):
        clock = f" {state.countdown_s:.0f} s" if state.countdown_s else ""
    elif state.state == EpisodeState.RECORDING:
        clock = f" {clock_text(state.duration_s)}"
    left = f"dp record  {view.cell}  {state.task}  kept {state.episodes_recorded}"
    if view.silent_s > 3.0:
        name, clock = "RECORDER SILENT", f" {view.silent_s:.0f} s"
    badge = shorten(f" {name}{clock} ", style.columns)
    line = style.fill(left, len(badge))
    colour = RED if view.silent_s > 3.0 else _STATE_COLOURS.get(state.state, YELLOW)
    return [f"{style.paint(line, BOLD)}{style.paint(badge, REVERSE, colour)}"]


def _plan(state: EpisodeState, style: Style) -> list[str]:
    lines = []
    if state.plan_length:
        number = state.plan_number or state.plan_length
        width = max(10, min(40, style.columns - 40))
        full = round(width * (number - 1 if state.plan_number else number) / state.plan_length)
        bar = "#" * full + "-" * (width - full)
        where = f"item {state.plan_number} of {state.plan_length}" if state.plan_number else "plan done"
        lines.append(style.line(f"{where}  [{bar}]"))
    if state.prompt and state.state != EpisodeState.RECORDING:
        lines += style.wrapped(f"> {state.prompt}", 3, BOLD, CYAN)
    return lines


def _arm(view: DeskView, style: Style) -> list[str]:
    lines = []
    if view.control:
        key = "" if view.control_ok else "[t] to drive  "
        lines.append(style.line(f"{key}arm {view.control}", "" if view.control_ok else RED))
    if view.device:
        lines.append(style.line(f"device {view.device}", "" if view.device_ok else RED))
    return lines


def _disk(state: EpisodeState, style: Style) -> list[str]:
    text = f"disk {state.free_bytes / 2**30:.1f} GiB free"
    if state.written_bytes_per_s > 0.0:
        minutes = state.free_bytes / state.written_bytes_per_s / 60.0
        left = f"{minutes:.0f} min" if minutes < 600 else f"{minutes / 60:.0f} h"
        text += f", {state.written_bytes_per_s / 1e6:.1f} MB/s, {left} left, queue {100 * state.queue_share:.0f} %"
    return [style.line(text)]


def _last(state: EpisodeState, style: Style) -> list[str]:
    if not state.verdict:
        return []
    name = state.path.rstrip("/").rsplit("/", 1)[-1]
    colour = _VERDICT_COLOURS.get(state.verdict, YELLOW)
    lines = [style.line(f"last {name}: {state.outcome}, {state.verdict}", colour)]
    for reason in state.reasons[:_MOST_REASONS]:
        lines += style.wrapped(f"  - {reason}", 2, colour)
    if len(state.reasons) > _MOST_REASONS:
        lines.append(style.line(f"  - and {len(state.reasons) - _MOST_REASONS} more", colour))
    return lines


def _warnings(view: DeskView, state: EpisodeState, style: Style) -> list[str]:
    lines: list[str] = []
    for warning in state.warnings[:_MOST_WARNINGS]:
        lines += style.wrapped(f"! {warning}", 2, YELLOW)
    if len(state.warnings) > _MOST_WARNINGS:
        lines.append(style.line(f"! and {len(state.warnings) - _MOST_WARNINGS} more", YELLOW))
    if state.text and state.text != view.message:
        lines += style.wrapped(state.text, 3, RED if state.state == EpisodeState.FAILED else "")
    return lines


def _answer(view: DeskView, style: Style) -> list[str]:
    if view.asks_to_quit:
        return [style.line("an episode is open: q again keeps it without a label and quits", BOLD, RED)]
    return style.wrapped(view.message, 3, "" if view.message_ok else RED) if view.message else []


def _help(domain: str, style: Style, room: int) -> list[str]:
    lines = [style.line(f"other terminals: ROS_DOMAIN_ID={domain} dp record --attach")] if domain else []
    for key, text in HELP:
        first, *rest = textwrap.wrap(text, max(20, style.columns - 12)) or [""]
        lines.append(style.line(f"  {key:9s} {first}"))
        lines += [style.line(f"{'':12s}{part}") for part in rest]
    return lines[: max(room, 1)]


def clock_text(seconds: float) -> str:
    """``0:07.3``, ``12:05.0``."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
