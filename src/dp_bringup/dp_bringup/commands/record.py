"""`dp record`: record demonstrations, by a person at the desk in the terminal or by the scripted operator."""

from __future__ import annotations

import argparse
from pathlib import Path

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp record --task place --episodes 50 --out runs/place_demonstrations     # scripted operator, simulated cell
  dp record --task reach_around --episodes 20 --seed 100 --out runs/more
  dp record --cell fr3_crisp --plan config/plans/example.yaml --out data/cubes   # you drive; ? shows the keys
  dp record --cell fr3_crisp --task wipe --out data/wipe --countdown 3
  dp record --operator person --plan example --out runs/mine                    # you drive the simulated cell
  ROS_DOMAIN_ID=7 dp record --attach --plan example                         # join what `dp up teleop` has started
A plan goes on where the episodes in --out end. A recorder that is joined (--attach) keeps its folder, task, operator
and times, but takes the plan. Ctrl-C keeps the open episode, without a label."""


_DEFAULT_TASK = "place"
#: What only a recorder that is started here learns, and of that what only a person's recorder does.
_OF_A_PERSON = ("name", "countdown", "reset_pause", "max_duration", "auto_start")
_OF_A_START = ("out", "run", *_OF_A_PERSON)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--cell", default="sim_franka", help="cell contract (default: sim_franka)")
    text = "task, unless --plan names it; of the simulated cell a known one (default: place)"
    parser.add_argument("--task", default=_DEFAULT_TASK, help=text)
    text = "who drives: person, scripted (simulated cells only), or auto: scripted in simulation unless --plan is given"
    parser.add_argument("--operator", choices=("auto", "scripted", "person"), default="auto", help=text)
    parser.add_argument("--out", type=Path, help="folder for the episodes (needed unless --attach)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene; then one more each (default: 0)")
    scripted = parser.add_argument_group("scripted operator")
    scripted.add_argument("--episodes", type=int, default=10, help="how many (default: 10)")
    person = parser.add_argument_group("a person")
    person.add_argument("--plan", help="plan: a YAML file, or a name in config/plans")
    person.add_argument("--attach", action="store_true", help="join a running graph instead of starting one")
    person.add_argument("--run", type=Path, help="folder for logs (default: a new one under runs/)")
    person.add_argument("--name", default="", help="who drives, kept in each episode unless the plan says who")
    for flag, what in (
        ("--countdown", "count-down before each episode, s (0 to 60)"),
        ("--reset-pause", "pause after each episode, s (0 to 3600)"),
        ("--max-duration", "longest episode, s (0: no limit)"),
    ):
        person.add_argument(flag, type=float, metavar="S", help=f"{what}; default: the plan's, else none")
    person.add_argument("--auto-start", action="store_true", help="the next episode begins by itself after the pause")
    person.add_argument("--quiet", action="store_true", help="no bells")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Record and print one line for each episode."""
    from dp_core.contract import load_contract

    from dp_bringup.errors import CommandError

    if args.out is None and not args.attach:
        raise CommandError("--out is missing: the folder for the episodes, for example --out runs/demonstrations")
    simulated = load_contract(args.cell).name.startswith("sim_")
    by_person = args.attach or args.plan is not None or not simulated
    if args.operator == "scripted" and by_person:
        raise CommandError("--operator scripted drives a simulated cell, without --plan and --attach")
    if args.attach and (told := _told(args, _OF_A_START) + (["--task"] if args.task != _DEFAULT_TASK else [])):
        raise CommandError(
            f"{', '.join(told)}: not with --attach, for a recorder that runs keeps its folder, task, operator and "
            "times; put them into a plan, or set them where it is started"
        )
    if args.operator == "person" or by_person:
        from dp_bringup.operator_desk.recording import record_by_person

        return record_by_person(args, simulated)
    if told := _told(args, _OF_A_PERSON):
        raise CommandError(f"{', '.join(told)}: for a person who drives; add --operator person")
    return _record_scripted(args)


def _told(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Flags that were given, of these."""
    values = {name: getattr(args, name) for name in names}
    return [f"--{name.replace('_', '-')}" for name, value in values.items() if value or type(value) is float]


def _record_scripted(args: argparse.Namespace) -> int:
    from dp_bringup.episodes import EpisodeResult
    from dp_bringup.progress import bar
    from dp_bringup.stages import record_demonstrations
    from dp_bringup.summary import describe_episodes, episode_figures

    results: list[EpisodeResult] = []
    with bar(args.episodes, "record", "episode") as shown:

        def on_episode(result: EpisodeResult) -> None:
            results.append(result)
            shown.set_postfix(success=f"{sum(r.success for r in results)}/{len(results)}", refresh=False)
            shown.update()

        seeds = range(args.seed, args.seed + args.episodes)
        record_demonstrations(args.out / "session", args.out, args.cell, args.task, seeds, on_episode)
    print(describe_episodes(results))
    write_results(args.json, "record", [r.row() for r in results], episode_figures(results))
    return 0
