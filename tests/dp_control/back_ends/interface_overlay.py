"""Compiles ``interfaces_src`` into a prefix of its own, once for each state of its inputs, and makes it importable."""

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCES = Path(__file__).with_name("interfaces_src")
HOOK = ROOT / "tools" / "strip_foreign_includes.cmake"
# What rclpy with Fast DDS needs of rosidl_default_generators; the rest, and C++ file by file, would double the time.
GENERATORS = (
    "rosidl_cmake rosidl_generator_type_description rosidl_generator_c rosidl_generator_cpp rosidl_typesupport_c"
    " rosidl_typesupport_fastrtps_cpp rosidl_typesupport_fastrtps_c rosidl_generator_py"
)
UNITY = ("rosidl_typesupport_fastrtps_cpp", "rosidl_typesupport_fastrtps_c")
DEPENDENCIES = {
    "control_msgs": "action_msgs",
    "controller_manager_msgs": "builtin_interfaces lifecycle_msgs service_msgs",
    "franka_msgs": "action_msgs geometry_msgs sensor_msgs std_msgs",
}


class OverlayError(Exception):
    """The interfaces cannot be compiled here; says why."""


def build_overlay() -> Path:
    """The prefix with the compiled interfaces, made by the first run and found by later ones."""
    if shutil.which("cmake") is None:
        raise OverlayError("cmake is missing: sudo apt-get install -y cmake g++")
    files = [*sorted(path for path in SOURCES.rglob("*") if path.is_file()), Path(__file__), HOOK]
    digest = hashlib.sha256(f"{sys.prefix}{sys.version}".encode())
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    base = ROOT / "build" / "test_interfaces" / digest.hexdigest()[:16]
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once: the second waits and finds everything done
        prefix = base / "prefix"
        if not (base / "done").exists():
            builds = [_start_build(name, base, prefix) for name in DEPENDENCIES]
            for name, process in builds:
                output, _ = process.communicate(timeout=900)
                if process.returncode != 0:
                    raise OverlayError(f"{name} does not compile:\n{output[-3000:]}")
            (base / "done").touch()
    return prefix


def _start_build(name: str, base: Path, prefix: Path) -> tuple[str, subprocess.Popen]:
    source, build = base / "src" / name, base / "build" / name
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(SOURCES / name, source)
    dependencies = DEPENDENCIES[name].split()
    interfaces = sorted(str(path.relative_to(source)) for path in source.rglob("*.*"))
    unity = " ".join(f"{name}__{target}" for target in UNITY)
    found = "".join(f"find_package({package} REQUIRED)\n" for package in GENERATORS.split() + dependencies)
    (source / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.8)\nproject({name})\nfind_package(ament_cmake REQUIRED)\n"
        f"{found}"
        f"rosidl_generate_interfaces({name} {' '.join(interfaces)} DEPENDENCIES {' '.join(dependencies)})\n"
        f"set_target_properties({unity} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)\nament_package()\n"
    )
    depends = "".join(f"<depend>{package}</depend>" for package in dependencies)
    (source / "package.xml").write_text(
        f'<package format="3"><name>{name}</name><version>0.0.0</version><description>test</description>'
        '<maintainer email="maintainers@diffusion-policy-ros2.org">tests</maintainer><license>Apache-2.0</license>'
        f"<buildtool_depend>ament_cmake</buildtool_depend>{depends}"
        "<member_of_group>rosidl_interface_packages</member_of_group></package>\n"
    )
    steps = [
        f"cmake -S {source} -B {build} -DCMAKE_PREFIX_PATH={sys.prefix} -DCMAKE_INSTALL_PREFIX={prefix}"
        f" -DCMAKE_BUILD_TYPE=None -DBUILD_TESTING=OFF -DPython3_EXECUTABLE={sys.executable}"
        f" -DCMAKE_PROJECT_INCLUDE={HOOK}",
        f"cmake --build {build} -j2",
        f"cmake --install {build}",
    ]
    environment = os.environ | {
        "AMENT_PREFIX_PATH": sys.prefix,
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        ["sh", "-c", " && ".join(steps)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return name, process


def use_overlay(prefix: Path) -> None:
    """Make the compiled packages importable in this process and those that it starts.

    The dynamic linker reads LD_LIBRARY_PATH only when a process starts, so here the libraries are loaded by hand;
    their generated loaders then find them by name.
    """
    site = prefix / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    sys.path.insert(0, str(site))
    for variable, folder in (("LD_LIBRARY_PATH", prefix / "lib"), ("PYTHONPATH", site), ("AMENT_PREFIX_PATH", prefix)):
        os.environ[variable] = os.pathsep.join(filter(None, (str(folder), os.environ.get(variable, ""))))
    waiting = sorted((prefix / "lib").glob("*.so"))
    while waiting:
        left = [library for library in waiting if not _load(library)]
        if len(left) == len(waiting):
            raise OverlayError(f"cannot load {left[0]}")
        waiting = left


def _load(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
