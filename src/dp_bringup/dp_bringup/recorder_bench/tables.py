"""The table of `dp bench recorder`, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp_benchmark.tables import markdown_table

Row = dict[str, Any]
NOTES = (
    "MB/s: of messages as published that are in the file; cpu: processor time of the recorder's process, all threads, "
    "until the file was closed, over the time recorded; queue: most that ever waited; lost: published and not in the "
    "file, whole, by counter and checksum of every message (naive: by counter); disk: bytes of the file over the time "
    "recorded; ratio: processor time of the naive recorder for a MB that it recorded, against ours."
)


def recorder_table(rows: Sequence[Row]) -> str:
    """One line for each mode and recorder."""
    headers = (
        "mode", "recorder", "s", "messages/s", "MB/s", "cpu cores", "ms/MB", "queue", "queue MiB", "published", "lost",
        "disk MB/s", "peak MiB", "ratio", "publishers' cores",
    )  # fmt: skip
    cells = []
    for row in rows:
        ratio = row.get("ratio_to_naive")
        per_mb = row.get("cpu_ms_per_mb")
        cells.append(
            (
                row["mode"],
                row["recorder"],
                f"{row['seconds']:.0f}",
                f"{row['messages_per_s']:,.0f}",
                f"{row['mb_per_s']:.1f}",
                f"{row['cpu_cores']:.2f}",
                "" if per_mb is None else f"{per_mb:.2f}",
                f"{row['queue_high_messages']:,}" if "queue_high_messages" in row else "",
                f"{row['queue_high_mib']:.1f}" if "queue_high_mib" in row else "",
                f"{row['messages_published']:,}",
                f"{row['messages_lost']:,}",
                f"{row['disk_mb_per_s']:.1f}",
                f"{row['peak_mib']:.0f}",
                "" if ratio is None else f"{ratio:.1f}",
                f"{row['publishers_cpu_cores']:.2f}",
            )
        )
    return f"{markdown_table(headers, cells)}\n{NOTES}\n"
