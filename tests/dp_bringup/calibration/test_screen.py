"""What the screen draws is what the reader reads, and its log tells when."""

from __future__ import annotations

import os

import pytest
from dp_bringup.calibration.code_reader import read_code
from dp_bringup.calibration.screen import draw_code, read_log

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


@pytest.mark.parametrize("size", [(1920, 1080), (800, 1280), (160, 120)])
def test_a_drawn_code_is_read(size):
    pygame = pytest.importorskip("pygame")
    surface = pygame.Surface(size)
    for counter in (0, 12345):
        draw_code(surface, counter)
        picture = pygame.surfarray.array3d(surface).swapaxes(0, 1)
        assert read_code(picture).counter == counter


def test_the_log_gives_the_time_between_two_flips(tmp_path):
    path = tmp_path / "screen.csv"
    assert read_log(path) == {}
    path.write_text("0,1000000000\n1,1033000000\n2,1066000000\n3,10990")
    times = read_log(path)
    assert sorted(times) == [0, 1, 2]
    assert times[1] == pytest.approx((1.033, 1.066))
