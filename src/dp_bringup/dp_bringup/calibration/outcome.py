"""What follows a measurement: table, plot, JSON, and the number in the contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.contract import load_contract

from dp_bringup.calibration.contract_file import (
    contract_path,
    is_shipped,
    text_difference,
    value_of,
    with_latency,
    write_contract,
)
from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate
from dp_bringup.results import write_results


@dataclass(frozen=True)
class Destination:
    """Where a result goes.

    Attributes:
        cell: name or file of the contract.
        out: another file for the contract; None: where the cell's file lies.
        dry_run: measure, show and plot, but leave the contract alone.
        shipped: writing into a configuration that belongs to the software was asked for.
    """

    cell: str
    out: Path | None = None
    dry_run: bool = False
    shipped: bool = False

    @property
    def path(self) -> Path:
        """File that is written."""
        return self.out or contract_path(self.cell)

    def check(self) -> None:
        """Refuse before the measurement what could not be written after it.

        Raises:
            CalibrationError: a shipped configuration without having been told so, or not a file.
        """
        if self.dry_run:
            return
        if self.path.is_dir() or self.path.suffix not in (".yaml", ".yml"):
            raise CalibrationError(f"--out {self.path} is not valid; valid: the name of a .yaml file")
        if self.path.exists() and not self.path.samefile(contract_path(self.cell)):
            raise CalibrationError(
                f"--out {self.path} exists, and what was calibrated in it would be lost: "
                f"go on with it (--cell {self.path}), or name another"
            )
        place = self.path if self.path.exists() else self.path.absolute().parent
        if place.exists() and not (os.access(place, os.W_OK) and os.access(place.parent, os.W_OK)):
            raise CalibrationError(
                f"{self.path} cannot be written: look at its permissions, or name another with --out"
            )
        if is_shipped(self.path) and not self.shipped:
            raise CalibrationError(
                f"{self.path} is a configuration that belongs to this software: measure with --dry-run, write a copy "
                "with --out FILE, or change it with --write-shipped"
            )


def finish(
    command: str,
    estimates: Sequence[LatencyEstimate],
    destination: Destination,
    plots: Sequence[Path],
    extra: dict[str, Any],
    json_file: Path | None,
) -> None:
    """Print the table, write JSON and contract, say where the plots lie.

    Args:
        command: of the JSON, such as `calibrate robot`.
        estimates: what was found.
        destination: where the numbers go.
        plots: written before.
        extra: further figures of the JSON's summary.
        json_file: None: no JSON.
    """
    before = contract_path(destination.cell).read_text(encoding="utf-8")
    present = load_contract(destination.cell).to_dict()
    print(latency_table(estimates, present))
    text = before
    for estimate in estimates:
        text = with_latency(text, estimate)
    summary: dict[str, Any] = {".".join((*e.place, "latency_s")): e.latency_s for e in estimates}
    summary |= {".".join((*e.place, "latency_uncertainty_s")): e.uncertainty_s for e in estimates}
    write_results(json_file, command, [e.row() for e in estimates], {**summary, **extra})
    for plot in plots:
        print(f"plot: {plot}")
    difference = text_difference(before, text, str(contract_path(destination.cell)))
    print(difference or "the contract has these numbers already")
    if destination.dry_run:
        print("dry run: nothing was written")
        return
    backup = write_contract(destination.path, text, contract_path(destination.cell))
    print(f"written: {destination.path}" + (f" (before: {backup})" if backup else ""))


def latency_table(estimates: Sequence[LatencyEstimate], contract: dict[str, Any]) -> str:
    """One line for each estimate, as Markdown."""
    lines = [
        "| key | in the contract, ms | measured, ms | uncertainty, ms | statistical | systematic | from | quality |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for estimate in estimates:
        old, _ = value_of(contract, estimate.place)
        name, value = estimate.quality
        systematic = ", ".join(f"{key} {1e3 * s:.1f}" for key, s in estimate.systematic_s.items() if s > 5e-5) or "-"
        lines.append(
            f"| {'.'.join((*estimate.place, 'latency_s'))} | {1e3 * old:.1f} | {1e3 * estimate.latency_s:.1f} "
            f"| {1e3 * estimate.uncertainty_s:.1f} | {1e3 * estimate.statistical_s:.2f} | {systematic} "
            f"| {len(estimate.samples_s)} | {name} {value:.3f} |"
        )
    notes = [f"{'.'.join(e.place)}: {e.note}" for e in estimates if e.note]
    return "\n".join([*lines, *notes])
