"""When to start the next inference, from the measured age of chunks. Pure: times come in as arguments."""

from __future__ import annotations

from collections import deque

import numpy as np


class InferenceSchedule:
    """Starts inferences so that a new chunk arrives before the committed part of the old one ends.

    A chunk made at t_obs commits to its actions up to ``t_obs + steps * period``. The next one must be published by
    then, so its inference starts on the last observation for which that holds: one whose chunk, at the measured age
    (t_obs to publication, a high quantile), would come in time while that of the next observation would not.

    Args:
        period_ns: time between actions.
        steps: Ta, actions to be executed of each chunk.
        observation_period_ns: time between two observations (that of the slowest camera).
        first_age_ns: assumed age before any was measured.
        window: ages remembered.
        quantile: share of ages that the budget covers.
    """

    def __init__(
        self,
        period_ns: int,
        steps: int,
        observation_period_ns: int,
        first_age_ns: int,
        window: int = 50,
        quantile: float = 0.95,
    ) -> None:
        if steps < 1 or period_ns <= 0 or observation_period_ns <= 0:
            raise ValueError(
                f"steps {steps}, period_ns {period_ns}, observation_period_ns {observation_period_ns}: all must be > 0"
            )
        self._committed_ns = steps * period_ns
        self._observation_period_ns = observation_period_ns
        self._ages_ns: deque[int] = deque([first_age_ns], maxlen=window)
        self._measured = False
        self._quantile = quantile
        self._chunk_observed_ns: int | None = None

    @property
    def budget_ns(self) -> int:
        """Time from t_obs to publication to allow for."""
        return int(np.quantile(self._ages_ns, self._quantile))

    def start(self) -> None:
        """Forget the present chunk (a new episode); what was learnt of ages stays."""
        self._chunk_observed_ns = None

    def due(self, t_obs_ns: int) -> bool:
        """True when an inference on the observation at ``t_obs_ns`` should start now."""
        if self._chunk_observed_ns is None:
            return True
        if t_obs_ns <= self._chunk_observed_ns:
            return False
        next_arrival_ns = t_obs_ns + self._observation_period_ns + self.budget_ns
        return next_arrival_ns > self._chunk_observed_ns + self._committed_ns

    def published(self, t_obs_ns: int, now_ns: int) -> None:
        """Take note of a chunk of the observation at ``t_obs_ns``, published at ``now_ns``."""
        if not self._measured:
            self._ages_ns.clear()
            self._measured = True
        self._ages_ns.append(max(0, now_ns - t_obs_ns))
        self._chunk_observed_ns = t_obs_ns
