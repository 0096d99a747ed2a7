"""`report.html`: one file that shows what a demo did and with what it was done."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from dp_core.contract import Contract, load_contract

from dp_bringup.delivery import StreamDelivery, count_delivery, messages_lost
from dp_bringup.demo_plan import DemoState
from dp_bringup.episodes import EpisodeResult
from dp_bringup.ledger import age_figures, ledger_rows, read_ledger
from dp_bringup.report_figures import choose_rollouts, loss_figure, rollout_video, trajectory_figure
from dp_bringup.results import machine, versions
from dp_bringup.rollouts import read_rollout
from dp_bringup.summary import describe_conditions, episode_figures

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #1d2733 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #d5dbe1 }
table { border-collapse: collapse; margin: .8em 0 } td, th { padding: .25em .9em .25em 0; text-align: left }
th { color: #5a6673; font-weight: 600 } img, video { max-width: 100% } .side { display: flex; flex-wrap: wrap }
.side img { width: 49% } pre { background: #f4f6f8; padding: .8em; overflow: auto; font-size: 12px }
"""


def recorded(results: Sequence[EpisodeResult]) -> list[Path]:
    """Folders of the episodes that have a recording."""
    return [Path(result.path) for result in results if result.path and Path(result.path).is_dir()]


def demo_summary(state: DemoState) -> dict[str, Any]:
    """The figures that outside checks read; see design section 12."""
    operator, policy = episode_figures(state.demonstrations), episode_figures(state.evaluations)
    streams = count_delivery(recorded([*state.demonstrations, *state.evaluations]))
    ledger = read_ledger(recorded(state.evaluations)).summary()
    return {
        "task": state.plan.task,
        "size": state.plan.size,
        "policy_success": policy["success"],
        "policy_success_interval": policy["success_interval"],
        "policy_episodes": policy["episodes"],
        "operator_success": operator["success"],
        "operator_episodes": operator["episodes"],
        "collision_rate": policy["collision_rate"],
        "record_real_time_factor": operator["real_time_factor"],
        "side_counts": policy["side_counts"],
        "operator_side_counts": operator["side_counts"],
        "messages_lost": messages_lost(streams),
        "messages_published": sum(stream.published for stream in streams),
        **age_figures(ledger),
        "ledger": ledger,
        "stages_s": state.stages,
        "wall_s": state.wall_s,
        "run": str(state.folder),
    }


def demo_table(state: DemoState) -> list[tuple[str, str]]:
    """The main figures as text, for the terminal and the report."""
    figures = demo_summary(state)
    low, high = figures["policy_success_interval"]
    sides, operator_sides = figures["side_counts"], figures["operator_side_counts"]
    return [
        ("task", state.plan.task),
        ("operator success", f"{figures['operator_success']:.0%} of {figures['operator_episodes']}"),
        ("recording speed", f"{figures['record_real_time_factor']:.1f} x real time"),
        ("operator sides", f"left {operator_sides['left']}, right {operator_sides['right']}"),
        (
            "policy success",
            f"{figures['policy_success']:.0%} of {figures['policy_episodes']} unseen starts "
            f"(95 % interval {low:.0%} to {high:.0%})",
        ),
        ("policy sides", f"left {sides['left']}, right {sides['right']}"),
        ("policy collisions", f"{figures['collision_rate']:.0%} of episodes"),
        ("success means", describe_conditions(state.evaluations)),
        *ledger_rows(figures["ledger"]),
        ("messages lost", f"{figures['messages_lost']} of {figures['messages_published']} published"),
        ("wall time", f"{figures['wall_s'] / 60:.1f} min"),
    ]


def write_report(state: DemoState, training: Path, path: Path) -> None:
    """Write the report of a demo: no other file is needed to read it."""
    contract = load_contract(state.plan.cell)
    sections = [
        f"<h1>{html.escape(state.plan.task)}: record, train, deploy</h1>",
        _table(demo_table(state)),
        "<h2>Rollouts of the policy</h2>",
        _video(rollout_video(choose_rollouts(state.evaluations), contract)),
        "<h2>Executed trajectories from above</h2>",
        '<div class="side">',
        _picture(_trajectories(state.demonstrations[:40], contract, "operator")),
        _picture(_trajectories(state.evaluations, contract, "policy")),
        "</div><p>Green succeeded, red failed.</p>",
        "<h2>Training loss</h2>",
        _picture(loss_figure(training / "losses.jsonl")),
        "<h2>Scored episodes</h2>",
        _episodes(state.evaluations),
        "<h2>Messages per stream</h2>",
        _streams(count_delivery(recorded([*state.demonstrations, *state.evaluations]))),
        "<h2>Configuration and versions</h2>",
        *_configurations(state, contract, training),
    ]
    title = html.escape(f"{state.plan.task} {state.folder.name}")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    path.write_text(head + "\n".join(sections) + "</html>\n")


def _trajectories(results: Sequence[EpisodeResult], contract: Contract, title: str) -> bytes:
    shown = [result for result in results if result.path and Path(result.path).is_dir()]
    return trajectory_figure([read_rollout(Path(result.path), contract) for result in shown], shown, title)


def _table(rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> str:
    cells = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in rows]
    first = "<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>" if head else ""
    return f"<table>{first}{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _episodes(results: Sequence[EpisodeResult]) -> str:
    rows = [
        (r.seed, "yes" if r.success else "no", r.side, r.collisions, f"{r.duration_s:.1f}", r.verdict, r.reason)
        for r in results
    ]
    return _table(rows, ("seed", "success", "side", "collisions", "seconds", "recording", "why not"))


def _streams(streams: Sequence[StreamDelivery]) -> str:
    rows = [(s.topic, s.published, s.received, s.lost, s.dropped, s.missing_stamps) for s in streams]
    return _table(rows, ("topic", "published", "received", "lost", "dropped", "gaps in stamps"))


def _configurations(state: DemoState, contract: Contract, training: Path) -> list[str]:
    policy = training / "config.yaml"
    texts = {
        "plan": yaml.safe_dump(asdict(state.plan), sort_keys=False),
        "versions": yaml.safe_dump(versions(), sort_keys=False),
        "machine": yaml.safe_dump(machine(), sort_keys=False),
        "wall time of each stage (s)": yaml.safe_dump(state.stages, sort_keys=False),
        f"cell contract {contract.hash}": yaml.safe_dump(contract.to_dict(), sort_keys=False),
        "policy": policy.read_text() if policy.is_file() else "",
        "chunk ledger": json.dumps(read_ledger(recorded(state.evaluations)).summary(), indent=1),
    }
    for file in sorted(state.folder.glob("*/nodes/*.yaml")):
        texts[f"parameters of {file.relative_to(state.folder)}"] = file.read_text()
    return [
        f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"
        for name, text in texts.items()
    ]


def _picture(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _video(mp4: bytes) -> str:
    if not mp4:
        return "<p>No pictures were recorded.</p>"
    source = f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}"
    return f'<video controls loop autoplay muted src="{source}"></video>'
