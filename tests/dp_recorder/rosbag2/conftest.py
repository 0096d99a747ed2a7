"""The rules by which rosbag2 reads, and small bags to try them on."""

import sys
from pathlib import Path

import pytest
from dp_recorder.bag_writer import BagWriter
from dp_recorder.type_definitions import load_type_definition

sys.path.insert(0, str(Path(__file__).parent))

from small_bags import START_NS


@pytest.fixture
def write_bag(tmp_path):
    """Writes a bag: topics as (name, type, offered QoS), ``count`` messages 10 ms apart on each but a silent one."""

    def write(topics, count=40, name="episode_0001_place", close=True, **options):
        writer = BagWriter(tmp_path / name, **options)
        channels = [writer.add_topic(topic, load_type_definition(kind), qos) for topic, kind, qos in topics]
        for index in range(count):
            # Every fourth message is older than the one before it: receipt times may go back.
            t_ns = START_NS + 10_000_000 * (index - 2 * (index % 4 == 3))
            for number, channel in enumerate(channels):
                if "silent" not in topics[number][0]:
                    writer.write(channel, bytes([0, 1, 0, 0, index, number]), t_ns, t_ns - 1000, index + 1)
            if index % 10 == 9:
                writer.flush()
        if close:
            writer.close()
        else:
            writer.abandon()
        return writer.folder

    return write
