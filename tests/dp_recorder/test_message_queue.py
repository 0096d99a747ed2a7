import threading
import time

from dp_recorder.message_queue import MessageQueue, QueuedMessage


def message(index: int, size: int = 10) -> QueuedMessage:
    return QueuedMessage(0, bytes(size), index, index, index)


def test_order_is_kept_and_nothing_is_lost_between_threads():
    queue = MessageQueue(max_messages=100_000)
    taken = []

    def take():
        while not queue.finished:
            taken.extend(queue.take_all(0.05))

    thread = threading.Thread(target=take)
    thread.start()
    for start in range(0, 20_000, 50):
        assert queue.put_all([message(i) for i in range(start, start + 50)]) == []
    queue.close()
    thread.join(timeout=30)
    assert [m.sequence for m in taken] == list(range(20_000))


def test_overflow_by_messages_refuses_the_newest():
    queue = MessageQueue(max_messages=3)
    refused = queue.put_all([message(i) for i in range(5)])
    assert [m.sequence for m in refused] == [3, 4]
    assert [m.sequence for m in queue.take_all(0)] == [0, 1, 2]
    assert queue.put_all([message(6)]) == []


def test_overflow_by_bytes_and_high_water():
    queue = MessageQueue(max_bytes=100)
    assert len(queue.put_all([message(0, 60), message(1, 60), message(2, 40)])) == 1
    assert queue.high_water == (2, 100)
    queue.take_all(0)
    assert queue.put_all([message(3, 100)]) == []


def test_waiting_ends_with_a_message_or_with_closing():
    queue = MessageQueue()
    begin = time.monotonic()
    assert queue.take_all(0.05) == []
    assert time.monotonic() - begin >= 0.04
    threading.Timer(0.05, queue.close).start()
    begin = time.monotonic()
    assert queue.take_all(60.0) == [] and time.monotonic() - begin < 20.0
    assert queue.finished
    assert len(queue.put_all([message(0)])) == 1, "closed"


def test_what_is_queued_at_closing_can_still_be_taken():
    queue = MessageQueue()
    queue.put_all([message(0)])
    queue.close()
    assert not queue.finished
    assert len(queue.take_all(0)) == 1 and queue.finished
