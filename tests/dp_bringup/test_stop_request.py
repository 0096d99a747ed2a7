import os
import signal
import time

import pytest
from dp_bringup.stop_request import ECHO_S, StopRequest

from dp_bringup import stop_request


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two instructions of this thread


def test_before_the_work_begins_a_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), StopRequest("ending"):
        send(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_echo_of_a_launcher_is_not_a_second(number, capsys, monkeypatch):
    monkeypatch.setattr(stop_request, "ECHO_S", 60.0)  # however slow this machine is
    with StopRequest("ending after this step") as stop:
        assert not stop()
        send(number)
        assert stop() and stop()
        send(signal.SIGINT)
        send(signal.SIGTERM)
        assert stop()
    assert capsys.readouterr().err.count("ending after this step") == 1


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest("ending") as stop:
        stop()
        send(signal.SIGINT)
        time.sleep(ECHO_S + 0.05)
        send(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_the_handlers_from_before_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest("") as stop:
        stop()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
