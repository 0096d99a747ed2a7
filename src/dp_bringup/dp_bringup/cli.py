"""The `dp` command line: finds the subcommand, imports only its module, and turns expected failures into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from dp_bringup.errors import is_expected
from dp_bringup.results import check_json_place

COMMANDS = {
    "doctor": "check this machine and say what each missing thing costs",
    "up": "start a node graph: teleop or deploy",
    "demo": "the whole loop: record, train, deploy and score on the simulated cell",
    "record": "record demonstrations: by a person at the desk, or by the scripted operator",
    "calibrate": "measure latencies of cameras, arm and gripper, and write them into the contract",
    "dataset": "build a training store from bags, or describe one",
    "train": "train a policy from a store",
    "eval": "score a checkpoint in the simulated cell or on Push-T",
    "bench": "time code: the control loop, its motion and faults, the policy; a long run",
    "benchmark": "compare methods and samplers on Push-T",
    "bag": "recorded episodes: list, describe, check, repair, label, cut, picture, play",
    "export": "make a checkpoint ready for this processor: the fastest runtime that agrees with the plain one",
    "import": "make a checkpoint of real-stanford/diffusion_policy or LeRobot one of ours",
}
#: Commands whose module has another name, because theirs is a word of Python.
MODULES = {"import": "import_checkpoint"}
EPILOG = "examples:\n  dp doctor\n  dp demo --task place\n  dp train --help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 result below expectation, 2 refused, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _top_parser()
    if not arguments or arguments[0] in ("-h", "--help"):
        parser.print_help()
        return 0 if arguments else 2
    if arguments[0] == "--version":
        parser.parse_args(arguments)
    name = arguments[0]
    if name not in COMMANDS:
        return _fail(f"no command '{name}'; valid: {', '.join(COMMANDS)}")
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        module = importlib.import_module(f"dp_bringup.commands.{MODULES.get(name, name)}")
        parsed = _command_parser(name, module).parse_args(arguments[1:])
        check_json_place(getattr(parsed, "json", None))
        return int(module.run(parsed))
    except KeyboardInterrupt:
        print("\ndp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `dp ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not is_expected(error) or os.environ.get("DP_TRACEBACK"):
            raise
        return _fail(str(error))


def _top_parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:9s} {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="dp",
        usage="dp COMMAND [options]",
        description=f"Diffusion Policy on ROS 2 robots.\n\ncommands:\n{listing}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dp {_version()}")
    return parser


def _command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    class ActionParser(argparse.ArgumentParser):
        """Parser of an action such as `dp eval pusht`: its help ends with its own of the command's examples."""

        def __init__(self, prog: str, **settings: Any) -> None:
            own = [line for line in module.EXAMPLES.splitlines() if f"{line} ".startswith(f"  {prog} ")]
            settings = {"epilog": "\n".join(("examples:", *own)) if own else None, **settings}
            super().__init__(prog=prog, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **settings})

    parser = ActionParser(
        prog=f"dp {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    return parser


def _version() -> str:
    """Version of the distribution: one for all packages by pip, one of each by colcon."""
    from importlib.metadata import PackageNotFoundError, version

    for name in ("diffusion-policy-ros2", "dp_bringup"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _interrupt(signum: int, frame: object) -> NoReturn:
    """A request to end (SIGTERM, a terminal that closes) takes the same road as Ctrl-C.

    Children end, recordings close, and an arm that is being calibrated is held.
    """
    raise KeyboardInterrupt


def _fail(message: str) -> int:
    print(f"dp: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
