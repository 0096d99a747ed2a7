"""The cameras of the cell: exposure at their rates, travel with delay, jitter and drops, publication.

One thread, that of the physics, makes, uses and closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_sim.cameras import CameraRenderer
from dp_sim.cell import SimulatedCell
from dp_sim.clock_code import ClockScreen
from dp_sim.delays import NEVER_MS, CameraDelay, CameraTiming, DelayLine
from dp_sim.rates import camera_periods_ms

Picture = NDArray[np.uint8]
Publish = Callable[[str, Picture, int], None]


class CameraFeed:
    """See the module.

    Args:
        cell: what the cameras see.
        contract: sizes and rates.
        delays: how the pictures of each camera travel; only cameras named here are rendered.
        seed: of jitter and drops.
        clock_code_period_s: of the screens before the cameras, 0 where there are none.
        publish: called with camera, picture and header stamp (ms).
    """

    def __init__(
        self,
        cell: SimulatedCell,
        contract: Contract,
        delays: Mapping[str, CameraDelay],
        seed: int,
        clock_code_period_s: float,
        publish: Publish,
    ) -> None:
        self._cell, self._publish = cell, publish
        periods = camera_periods_ms(contract)
        sizes = {name: (contract.cameras[name].width, contract.cameras[name].height) for name in delays}
        self._renderer = CameraRenderer(cell.model, sizes) if sizes else None
        self._timings = {
            name: CameraTiming(periods[name], delay, (seed, index), cell.t_ms)
            for index, (name, delay) in enumerate(delays.items())
        }
        self._lines: dict[str, DelayLine[tuple[int, Picture]]] = {name: DelayLine() for name in delays}
        screens = delays if clock_code_period_s > 0.0 else {}
        self._screens = {name: ClockScreen(cell.model, name, clock_code_period_s) for name in screens}

    @property
    def next_ms(self) -> int:
        """Time of the next exposure of any camera."""
        return min((timing.next_ms for timing in self._timings.values()), default=NEVER_MS)

    def expose(self) -> None:
        """Take the pictures that are due at the cell's time."""
        t_ms = self._cell.t_ms
        for name, timing in self._timings.items():
            if timing.next_ms > t_ms or self._renderer is None:
                continue
            arrives_ms = timing.expose()
            if arrives_ms is None:
                continue
            if name in self._screens:
                self._screens[name].show(t_ms)
            self._lines[name].put(arrives_ms, (t_ms, self._renderer.render(self._cell.data, name)))

    def deliver(self) -> None:
        """Publish the pictures that have arrived."""
        for name, line in self._lines.items():
            for arrived_ms, (taken_ms, picture) in line.take(self._cell.t_ms):
                self._publish(name, picture, self._timings[name].stamp_ms(taken_ms, arrived_ms))

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
