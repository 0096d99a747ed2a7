"""Latencies and counts of chunks, from messages made by hand."""

import pytest
from dp_bringup.ledger import ChunkLedger, age_figures, ledger_rows
from dp_ros.messages import ns_to_stamp

from dp_msgs import msg

SECOND = 1_000_000_000


def stamp(seconds):
    return ns_to_stamp(round(SECOND * seconds))


def fill_chunk(message, captured, observed, published):
    message.header.stamp = stamp(observed)
    message.capture_newest = stamp(captured)
    message.inference_started = stamp(observed + 0.01)
    message.inference_ended = stamp(published - 0.01)
    message.published = stamp(published)
    return message


def fill_report(message, first, late=0, reason="", seam_m=0.001, seam_rad=0.01):
    message.first_executed = stamp(first)
    message.late, message.executed, message.stop_reason = late, 8 - late, reason
    message.seam_position_m, message.seam_rotation_rad = seam_m, seam_rad
    return message


def chunk(number, captured, observed, published):
    return fill_chunk(msg.ActionChunk(chunk_id=number), captured, observed, published)


def report(number, first, *what, **more):
    return fill_report(msg.ChunkReport(chunk_id=number), first, *what, **more)


def test_latencies_from_observation_to_execution():
    ledger = ChunkLedger()
    ledger.add_chunk("a", chunk(0, 0.99, 1.0, 1.05))
    ledger.add_chunk("b", chunk(0, 2.0, 2.0, 2.15))
    ledger.add_report("a", report(0, 1.06, late=1))
    ledger.add_report("b", report(0, 0.0, late=8, reason="all late"))
    summary = ledger.summary()
    assert summary["chunks"] == 2
    assert summary["observation_to_publication_s"]["p50"] == pytest.approx(0.1)
    assert summary["inference_s"]["p50"] == pytest.approx(0.08)
    assert summary["publication_to_execution_s"]["p50"] == pytest.approx(0.01)
    assert summary["late_actions"] == 9 and summary["executed_actions"] == 7
    assert summary["stop_reasons"] == {"all late": 1}


def test_age_is_from_the_newest_frame_to_the_first_executed_waypoint():
    """Ages of 0.10, 0.20 and 0.30 s; a chunk of which nothing was executed has none."""
    ledger = ChunkLedger()
    for k, age in enumerate((0.10, 0.20, 0.30)):
        ledger.add_chunk("a", chunk(k, 10.0 + k, 10.02 + k, 10.09 + k))
        ledger.add_report("a", report(k, 10.0 + k + age))
    ledger.add_chunk("a", chunk(3, 13.0, 13.02, 13.09))
    ledger.add_report("a", report(3, 0.0, late=8, reason="all 8 actions are late"))
    figures = age_figures(ledger.summary())
    # Linear between order statistics: the 99th percentile of three values lies 98 % of the way to the last.
    assert figures == {"age_p50_s": pytest.approx(0.20), "age_p99_s": pytest.approx(0.298)}


def test_the_whole_ledger_of_a_chunk_says_the_same_as_chunk_and_report():
    by_parts, whole, both = ChunkLedger(), ChunkLedger(), ChunkLedger()
    for ledger in (by_parts, both):
        ledger.add_report("a", report(7, 1.25, late=2))
        ledger.add_chunk("a", chunk(7, 0.98, 1.0, 1.05))
    for ledger in (whole, both):
        message = fill_chunk(msg.ChunkLedger(chunk_id=7), 0.98, 1.0, 1.05)
        ledger.add_ledger("a", fill_report(message, 1.25, late=2))
    assert by_parts.summary() == whole.summary() == both.summary()
    assert whole.summary()["age_s"]["p50"] == pytest.approx(0.27)


def test_seams_of_chunks_that_were_executed():
    ledger = ChunkLedger()
    for k, seam_m in enumerate((0.001, 0.003, 0.005)):
        ledger.add_report("a", report(k, 1.0 + k, seam_m=seam_m, seam_rad=2.0 * seam_m))
    ledger.add_report("a", report(3, 0.0, late=8, seam_m=9.0, seam_rad=9.0))
    summary = ledger.summary()
    assert summary["seam_position_m"]["p50"] == pytest.approx(0.003)
    assert summary["seam_position_m"]["p95"] == pytest.approx(0.0048)
    assert summary["seam_rotation_rad"]["p95"] == pytest.approx(0.0096)
    rows = dict(ledger_rows(summary))
    assert rows["jump at seams"] == "p50 3.0 mm 6 mrad, p95 4.8 mm 10 mrad"
    assert rows["actions"] == "24 executed, 8 late"


def test_no_chunks():
    summary = ChunkLedger().summary()
    assert summary["observation_to_publication_s"] == {}
    assert age_figures(summary) == {"age_p50_s": None, "age_p99_s": None}
    assert dict(ledger_rows(summary))["capture to first executed waypoint"] == "no chunks"
