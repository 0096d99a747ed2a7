"""The robot, or the cameras, of a cell as a process that can be killed. Usage: robot_process.py robot|cameras CELL."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from dp_core.contract import load_contract
from faulty_cell import FaultyCell

ROBOT_STREAMS = ("pose", "joints", "gripper", "wrench")


def main(part, cell_file):
    contract = load_contract(cell_file)
    sent = ROBOT_STREAMS if part == "robot" else tuple(contract.cameras)
    cell = FaultyCell(contract, sends=sent)
    cell.images = part == "cameras"
    while True:
        time.sleep(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:3])
