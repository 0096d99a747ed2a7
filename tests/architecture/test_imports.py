"""The import directions of the design, checked on the sources themselves."""

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "dp_core": set(),
    "dp_policy": {"dp_core"},
    "dp_dataset": {"dp_core"},
    "dp_trainer": {"dp_core", "dp_policy", "dp_dataset"},
    "dp_benchmark": {"dp_core", "dp_policy", "dp_dataset", "dp_trainer"},
    "dp_ros": {"dp_core", "dp_msgs"},
    "dp_teleop": {"dp_core", "dp_ros", "dp_msgs"},
    "dp_camera": {"dp_core", "dp_ros", "dp_msgs"},
    "dp_recorder": {"dp_core", "dp_dataset", "dp_ros", "dp_msgs"},
    "dp_control": {"dp_core", "dp_ros", "dp_msgs"},
    "dp_policy_node": {"dp_core", "dp_policy", "dp_ros", "dp_msgs"},
    "dp_sim": {"dp_core", "dp_ros", "dp_msgs"},
}
PURE = ("dp_core", "dp_policy", "dp_dataset", "dp_trainer")
ROS = {"rclpy", "std_msgs", "sensor_msgs", "geometry_msgs", "builtin_interfaces", "std_srvs", "rosgraph_msgs", "launch"}
SIMULATORS = {"mujoco", "dp_sim", "gymnasium", "gym_pusht", "pymunk", "pygame"}
FORBIDDEN_IN_PURE = ROS | SIMULATORS | {"dp_msgs", "dp_ros", "argparse", "dp_bringup"}
PACKAGES = sorted([*ALLOWED, "dp_bringup"])


def modules(package):
    return sorted((ROOT / "src" / package / package).rglob("*.py"))


def imported(path):
    """Top-level names of everything that a module imports, functions' bodies included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0], node.lineno


def imports_of(package):
    return {name for path in modules(package) for name, _ in imported(path)} - {package}


def test_every_package_of_the_source_tree_is_covered():
    found = {path.parent.name for path in (ROOT / "src").glob("*/setup.py")}
    assert found == set(PACKAGES)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_lies_below_them(package):
    ours = {name for name in imports_of(package) if name.startswith("dp_")}
    assert ours <= ALLOWED[package], f"{package} imports {sorted(ours - ALLOWED[package])}"


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_know_neither_ros_nor_simulator(package):
    bad = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line in imported(path)
        if name in FORBIDDEN_IN_PURE
    ]
    assert not bad, bad


def test_benchmarks_know_no_ros():
    assert not imports_of("dp_benchmark") & (ROS | {"dp_msgs", "mujoco", "argparse"})


def test_core_never_reads_a_clock():
    bad = [path.name for path in modules("dp_core") if {"time", "datetime"} & {name for name, _ in imported(path)}]
    assert not bad, bad


def test_nothing_imports_the_command_line():
    for package in ALLOWED:
        assert "dp_bringup" not in imports_of(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_xml_declares_what_is_imported(package):
    """A missing dependency breaks a colcon workspace only on somebody else's machine."""
    root = ElementTree.parse(ROOT / "src" / package / "package.xml").getroot()
    assert root.get("format") == "3"
    assert root.findtext("name") == package
    assert root.findtext("license") == "Apache-2.0"
    declared = {element.text for element in root if element.tag in ("depend", "exec_depend")}
    used = {name for name in imports_of(package) if name.startswith("dp_") or name in ROS or name.endswith("_msgs")}
    assert used <= declared, f"{package}/package.xml lacks {sorted(used - declared)}"


def test_message_package_lists_every_interface():
    text = (ROOT / "src/dp_msgs/CMakeLists.txt").read_text()
    files = [*(ROOT / "src/dp_msgs").glob("msg/*.msg"), *(ROOT / "src/dp_msgs").glob("srv/*.srv")]
    assert files
    for path in files:
        assert f'"{path.parent.name}/{path.name}"' in text


def test_console_scripts_agree_between_pip_and_colcon():
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        package = entry.split(".")[0]
        assert f'"{name} = {entry}"' in (ROOT / "src" / package / "setup.py").read_text()
