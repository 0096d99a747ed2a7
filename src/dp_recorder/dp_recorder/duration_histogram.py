"""Quantiles of durations with constant memory: a histogram whose buckets grow with the value.

Source: the bucket layout of HdrHistogram (G. Tene): a power of two and its first bits, here three, so that a bucket is
at most an eighth of its value wide and a quantile is known to 6 per cent.
"""

from __future__ import annotations

_SUB_BITS = 3
_SUBS = 1 << _SUB_BITS
_BITS = 63


class DurationHistogram:
    """Counts durations in nanoseconds; negative ones too. One thread adds, another may read."""

    def __init__(self) -> None:
        size = (_BITS - _SUB_BITS + 1) * _SUBS
        self._positive = [0] * size
        self._negative: list[int] | None = None
        self._count = 0

    def add(self, value_ns: int) -> None:
        """Count one duration."""
        self._count += 1
        if value_ns >= 0:
            self._positive[_bucket(value_ns)] += 1
            return
        if self._negative is None:
            self._negative = [0] * len(self._positive)
        self._negative[_bucket(-value_ns)] += 1

    def quantile_ns(self, share: float) -> int:
        """The duration below which ``share`` (0 to 1) of all lie: the middle of its bucket; 0 without any."""
        if self._count == 0:
            return 0
        rank = max(1, -int(-share * self._count // 1))
        if self._negative is not None:
            for index in range(len(self._negative) - 1, -1, -1):
                rank -= self._negative[index]
                if rank <= 0 and self._negative[index]:
                    return -_middle(index)
        for index, count in enumerate(self._positive):
            rank -= count
            if rank <= 0 and count:
                return _middle(index)
        return 0


def _bucket(value: int) -> int:
    """Exact below 8 ns, then eight buckets for each power of two."""
    shift = value.bit_length() - 1 - _SUB_BITS
    if shift <= 0:
        return min(value, 2 * _SUBS - 1)
    return min(shift, _BITS - _SUB_BITS - 1) * _SUBS + min(value >> shift, 2 * _SUBS - 1)


def _middle(index: int) -> int:
    if index < 2 * _SUBS:
        return index
    shift = index // _SUBS - 1
    low = (_SUBS + index % _SUBS) << shift
    return low + ((1 << shift) >> 1)
