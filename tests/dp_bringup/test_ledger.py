from types import SimpleNamespace

import pytest
from dp_bringup.ledger import ChunkLedger


def stamp(seconds):
    return SimpleNamespace(sec=int(seconds), nanosec=round(1e9 * (seconds % 1)))


def chunk(number, observed, published):
    return SimpleNamespace(
        chunk_id=number,
        header=SimpleNamespace(stamp=stamp(observed)),
        published=stamp(published),
        inference_started=stamp(observed + 0.01),
        inference_ended=stamp(published - 0.01),
    )


def report(number, first, late=0, reason=""):
    return SimpleNamespace(
        chunk_id=number,
        first_executed=stamp(first),
        late=late,
        executed=8 - late,
        seam_position_m=0.001,
        seam_rotation_rad=0.0,
        stop_reason=reason,
    )


def test_latencies_from_observation_to_execution():
    ledger = ChunkLedger()
    ledger.add_chunk("a", chunk(0, 1.0, 1.05))
    ledger.add_chunk("b", chunk(0, 2.0, 2.15))
    ledger.add_report("a", report(0, 1.06, late=1))
    ledger.add_report("b", report(0, 0.0, late=8, reason="all late"))
    summary = ledger.summary()
    assert summary["chunks"] == 2
    assert summary["observation_to_publication_s"]["p50"] == pytest.approx(0.1)
    assert summary["inference_s"]["p50"] == pytest.approx(0.08)
    assert summary["publication_to_execution_s"]["p50"] == pytest.approx(0.01)
    assert summary["late_actions"] == 9 and summary["executed_actions"] == 7
    assert summary["stop_reasons"] == {"all late": 1}


def test_no_chunks():
    assert ChunkLedger().summary()["observation_to_publication_s"] == {}
