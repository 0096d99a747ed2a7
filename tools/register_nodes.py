"""Register the editable installation in the environment's ROS prefix, as `colcon build` would.

`ros2 run` and `ros2 launch` look up `share/ament_index/resource_index/packages/<package>` and then
`lib/<package>/<executable>`; pip writes neither for an editable installation.
Run as `.venv/bin/python tools/register_nodes.py`.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND_LINE = "dp"  # a person's command, not a node


def link(path: Path, target: Path) -> None:
    """Make `path` a symbolic link to `target`, replacing what stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def main() -> None:
    """Write the index entries, `package.xml`, executables and the launch and config folders."""
    prefix = Path(sys.prefix)
    for manifest in sorted(ROOT.glob("src/*/setup.py")):
        package = manifest.parent.name
        index = prefix / "share/ament_index/resource_index/packages" / package
        index.parent.mkdir(parents=True, exist_ok=True)
        index.touch()
        link(prefix / "share" / package / "package.xml", manifest.parent / "package.xml")
    for folder in ("launch", "config"):
        link(prefix / "share/dp_bringup" / folder, ROOT / folder)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        if name != COMMAND_LINE:
            link(prefix / "lib" / entry.split(".")[0] / name, prefix / "bin" / name)
    print(f"registered {len(scripts) - 1} nodes under {prefix}")


if __name__ == "__main__":
    main()
