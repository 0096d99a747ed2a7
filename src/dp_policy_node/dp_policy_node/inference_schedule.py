"""When to start the next inference, from the measured age of chunks. Pure: times come in as arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AgeFigures:
    """Percentiles of the measured ages (t_obs to publication), ms; zero before the first."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


class InferenceSchedule:
    """Starts inferences so that a new chunk arrives before the committed part of the old one ends.

    A chunk made at t_obs commits to its actions up to ``t_obs + steps * period``; the one of time t is sent
    ``action_latency`` before t. The next chunk must be published by then, so its inference starts on the last
    observation for which that holds: one whose chunk, at the measured age (t_obs to publication, a high quantile)
    and the measured delivery (publication to control's receipt), would come in time while that of the next observation
    would not.

    What is measured on the first chunk of an episode (frames not encoded yet, caches cold) counts only until there is
    better: an age over-estimated by a warm-up gives away actions at every seam.

    Args:
        period_ns: time between actions.
        steps: Ta, actions to be executed of each chunk.
        observation_period_ns: time between two observations (that of the slowest camera).
        first_age_ns: assumed age before any was measured.
        action_latency_ns: actions are sent this much before their time.
        window: ages remembered.
        quantile: share of ages that the budget covers.

    Attributes:
        budget_ns: time from t_obs to publication to allow for.
        delivery_ns: time from publication to control's receipt to allow for; 0 before control has reported any.
        overdue: chunks that came after the committed part of the one before had ended.
    """

    def __init__(
        self,
        period_ns: int,
        steps: int,
        observation_period_ns: int,
        first_age_ns: int,
        action_latency_ns: int = 0,
        window: int = 50,
        quantile: float = 0.95,
    ) -> None:
        if steps < 1 or period_ns <= 0 or observation_period_ns <= 0:
            raise ValueError(
                f"steps {steps}, period_ns {period_ns}, observation_period_ns {observation_period_ns}: all must be > 0"
            )
        self._period_ns = period_ns
        self._latency_ns = action_latency_ns
        self._committed_ns = steps * period_ns - action_latency_ns
        self._observation_period_ns = observation_period_ns
        self._ages_ns: deque[int] = deque(maxlen=window)
        self._deliveries_ns: deque[int] = deque(maxlen=window)
        self._provisional = True
        self._quantile = quantile
        self._first = True
        self._used_ns: int | None = None
        self._chunk_observed_ns: int | None = None
        self.budget_ns = first_age_ns
        self.delivery_ns = 0
        self.overdue = 0

    @property
    def ages(self) -> AgeFigures:
        """What the budget is taken from."""
        if not self._ages_ns:
            return AgeFigures(0.0, 0.0, 0.0)
        return AgeFigures(*(1e-6 * float(value) for value in np.percentile(self._ages_ns, (50, 90, 99))))

    @property
    def n_late(self) -> int:
        """Actions of the plan in execution, from t_obs on, that will have run when a chunk begun now arrives."""
        return -(-(self.budget_ns + self.delivery_ns + self._latency_ns) // self._period_ns)

    @property
    def due_after_ns(self) -> int | None:
        """Observations later than this are to be inferred on; None: any is."""
        if self._chunk_observed_ns is None:
            return self._used_ns
        arrival_ns = self.budget_ns + self.delivery_ns
        begin_ns = self._chunk_observed_ns + self._committed_ns - self._observation_period_ns - arrival_ns
        return max(self._used_ns or self._chunk_observed_ns, begin_ns)

    def start(self) -> None:
        """Forget the present chunk (a new episode); what was learnt of ages stays."""
        self._chunk_observed_ns = self._used_ns = None
        self._first = True

    def drop(self) -> None:
        """The present chunk is not in execution: the next inference is due at once, on a newer observation."""
        self._chunk_observed_ns = None

    def failed(self, t_obs_ns: int) -> None:
        """No chunk came of the observation at ``t_obs_ns``: the next one is tried on a newer observation."""
        self._used_ns = t_obs_ns

    def due(self, t_obs_ns: int) -> bool:
        """True when an inference on the observation at ``t_obs_ns`` should start now."""
        after_ns = self.due_after_ns
        return after_ns is None or t_obs_ns > after_ns

    def published(self, t_obs_ns: int, now_ns: int) -> None:
        """Take note of a chunk of the observation at ``t_obs_ns``, published at ``now_ns``."""
        if self._chunk_observed_ns is not None and now_ns > self._chunk_observed_ns + self._committed_ns:
            self.overdue += 1
        if self._provisional or not self._first:
            if self._provisional:
                self._ages_ns.clear()
            self._provisional = self._first
            self._ages_ns.append(max(0, now_ns - t_obs_ns))
            self.budget_ns = self._high(self._ages_ns)
        self._first = False
        self._chunk_observed_ns = self._used_ns = t_obs_ns

    def delivered(self, delay_ns: int) -> None:
        """Take note of the time that a chunk took from publication to control's receipt."""
        self._deliveries_ns.append(max(0, delay_ns))
        self.delivery_ns = self._high(self._deliveries_ns)

    def _high(self, durations_ns: deque[int]) -> int:
        # The lower of two neighbours: while there are few, a single outlier would else be the estimate for seconds.
        return int(np.quantile(durations_ns, self._quantile, method="lower"))
