"""Checks of the machine: what is there, what a missing thing costs, and how to get it.

Each check is a function without arguments that returns a :class:`Finding`; none of them changes anything, and none
of them raises.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from dp_core.contract import ContractError, config_directory

from dp_bringup.doctor_camera import check_camera, check_camera_devices
from dp_bringup.doctor_real_time import check_memory_lock, check_real_time
from dp_bringup.finding import MISSING, OK, WARN, Finding

SUPPORTED_PYTHON = ((3, 11), (3, 13))
MIN_SEGMENT_BYTES = 8 << 20  # four 640x480 frames and some
MIN_SHM_BYTES = 256 << 20
MIN_DISK_BYTES = 5 << 30
RENDER_PROBE = (
    "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size=\"1\"/></worldbody></mujoco>'); "
    "d = mujoco.MjData(m); mujoco.mj_forward(m, d); r = mujoco.Renderer(m, 16, 16); "
    "r.update_scene(d); r.render(); r.close()"
)


def check_python() -> Finding:
    """The interpreter's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if SUPPORTED_PYTHON[0] <= sys.version_info[:2] <= SUPPORTED_PYTHON[1]:
        return Finding("python", OK, version)
    cost = "the pinned packages are not tested with it"
    return Finding("python", WARN, version, cost, "PYTHON=python3.12 make setup")


def check_rclpy() -> Finding:
    """ROS 2's Python client library."""
    fix = "make setup, or source /opt/ros/jazzy/setup.bash"
    return _module("rclpy", "no ROS: nothing but offline training works", fix)


def check_rmw() -> Finding:
    """The middleware that rclpy talks to."""
    try:
        from rclpy.utilities import get_rmw_implementation_identifier

        name = get_rmw_implementation_identifier()
    except Exception as error:
        return Finding("rmw", MISSING, str(error), "nodes cannot talk to each other", "make setup")
    if name == "rmw_fastrtps_cpp":
        return Finding("rmw", OK, name)
    cost = "the DDS profile of this project is for Fast DDS: large images may be lost"
    return Finding("rmw", WARN, name, cost, "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp")


def check_messages() -> Finding:
    """The compiled message package."""
    try:
        from dp_msgs.msg import ActionChunk

        ActionChunk()
    except Exception as error:
        return Finding("dp_msgs", MISSING, str(error), "no node of this project starts", "make setup, or colcon build")
    return Finding("dp_msgs", OK, "compiled and importable")


def check_torch() -> Finding:
    """PyTorch."""
    return _module("torch", "no training and no policy node", "make setup")


def check_kinematics() -> Finding:
    """What control needs for cells with a URDF."""
    cost = "only cells without robot.description start: no FR3, no sim_franka_joint or _effort"
    try:
        import daqp  # noqa: F401
        import pinocchio
    except ImportError as error:
        return Finding("kinematics", WARN, str(error), cost, "pip install pin daqp")
    if not hasattr(pinocchio, "buildModelFromUrdf"):  # an unrelated package of that name is on PyPI
        return Finding("kinematics", WARN, f"{pinocchio.__file__} is another pinocchio", cost, "pip install pin daqp")
    return Finding("kinematics", OK, f"pinocchio {pinocchio.__version__}, daqp")


def check_gpu() -> Finding:
    """A CUDA device that torch can use."""
    try:
        import torch

        if torch.cuda.is_available():
            return Finding("gpu", OK, torch.cuda.get_device_name(0))
    except ImportError:
        pass
    cost = "the small policy trains in minutes on the processor; the paper-size one needs days"
    return Finding("gpu", WARN, "no CUDA device", cost, "an NVIDIA GPU with its driver, and a CUDA build of torch")


def check_rendering() -> Finding:
    """Off-screen rendering of the simulated cameras, tried in a subprocess that may crash."""
    chosen = os.environ.get("MUJOCO_GL")
    for backend in (chosen,) if chosen else ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": backend}
        command = [sys.executable, "-c", RENDER_PROBE]
        try:
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return Finding("rendering", OK, f"MUJOCO_GL={backend}")
    cost = "the simulated cameras do not work, so no demo"
    return Finding("rendering", MISSING, "no back end renders", cost, "sudo apt-get install libegl1 libgl1-mesa-dri")


def check_dds_profile() -> Finding:
    """The DDS profile, and that its shared-memory segment holds camera frames."""
    cost = "the default shared-memory segment is smaller than one camera frame: images get lost"
    try:
        path = Path(os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") or config_directory() / "dds" / "fastdds.xml")
        sizes = [int(e.text or 0) for e in ElementTree.parse(path).iter() if e.tag.endswith("segment_size")]
    except (OSError, ValueError, ElementTree.ParseError, ContractError) as error:
        return Finding("dds profile", MISSING, str(error), cost, "restore config/dds/fastdds.xml")
    if not sizes or max(sizes) < MIN_SEGMENT_BYTES:
        fix = f"raise segment_size in {path} to {MIN_SEGMENT_BYTES} or more"
        return Finding("dds profile", WARN, f"{path}: segment {max(sizes, default=0)} bytes", cost, fix)
    return Finding("dds profile", OK, f"{path.name}, segment {max(sizes) >> 20} MiB")


def check_shared_memory() -> Finding:
    """Room in /dev/shm, and segments that killed processes left there."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        cost = "images travel by UDP, slower"
        return Finding("shared memory", MISSING, "no /dev/shm", cost, "mount a tmpfs on /dev/shm")
    free = shutil.disk_usage(folder).free
    left = sum(1 for _ in folder.glob("fastrtps_*"))
    found = f"{free >> 20} MiB free, {left} Fast DDS segments"
    if free < MIN_SHM_BYTES:
        cost = "participants fail to start when their segment does not fit"
        return Finding("shared memory", WARN, found, cost, "docker run --shm-size=1g, or `fastdds shm clean`")
    return Finding("shared memory", OK, found)


def check_disk() -> Finding:
    """Free space where runs are written."""
    free = shutil.disk_usage(Path.cwd()).free
    if free < MIN_DISK_BYTES:
        cost = "a demo writes 2 to 4 GB; real cameras 60 MB per second"
        return Finding("disk", WARN, f"{free / 2**30:.1f} GiB free", cost, "free some space, or run elsewhere")
    return Finding("disk", OK, f"{free / 2**30:.0f} GiB free")


def check_spacemouse() -> Finding:
    """A SpaceMouse, opened as `teleop.device: auto` does."""
    from dp_teleop.devices import DeviceLostError, open_device

    try:
        device = open_device("auto", "", time.time_ns, buttons=2)
    except DeviceLostError as error:
        fix = "plug it in; `virtual_spacemouse` stands in for one, the scripted operator needs none"
        return Finding("spacemouse", WARN, str(error), "no demonstrations by a person", fix)
    name = device.name
    device.close()
    return Finding("spacemouse", OK, name)


def check_launch() -> Finding:
    """The launch system, which is not on PyPI."""
    if shutil.which("ros2"):
        return Finding("ros2 launch", OK, str(shutil.which("ros2")))
    cost = "launch files do not run; `dp up` starts the same graphs"
    return Finding("ros2 launch", WARN, "no ros2 command", cost, "install ROS 2 Jazzy from apt")


def check_video() -> Finding:
    """The encoder of the videos of reports and of Push-T episodes."""
    try:
        import imageio.v2  # noqa: F401
        from imageio_ffmpeg import get_ffmpeg_exe

        return Finding("video", OK, Path(get_ffmpeg_exe()).name)
    except Exception as error:
        cost = "the report has no video, `dp eval pusht --videos` does not run"
        return Finding("video", WARN, str(error), cost, "pip install imageio imageio-ffmpeg")


def check_pusht() -> Finding:
    """The Push-T environment, which setup installs apart from its dependencies."""
    cost = "no `dp eval pusht` and no `dp benchmark pusht`"
    fix = "make setup, or: pip install '.[pusht]' && pip install --no-deps gym-pusht==0.1.8"
    try:
        from dp_benchmark.pusht_environment import load_simulator

        load_simulator()
    except Exception as error:
        return Finding("push-t", WARN, str(error).split(";")[0], cost, fix)
    return Finding("push-t", OK, f"gym-pusht {_distribution_version('gym-pusht')}".rstrip())


def check_accelerate() -> Finding:
    """Hugging Face Accelerate, which starts a training in several processes."""
    cost = "training in one process only: one GPU, one machine"
    version = _distribution_version("accelerate")
    if not version:
        return Finding("accelerate", WARN, "not installed", cost, "pip install accelerate")
    return Finding("accelerate", OK, version)


def check_temporary_folder() -> Finding:
    """Whether the folder for locks and temporary files can be written."""
    try:
        with tempfile.TemporaryFile():
            return Finding("temporary folder", OK, tempfile.gettempdir())
    except OSError as error:
        return Finding("temporary folder", MISSING, str(error), "no run can reserve its ROS domain", "set TMPDIR")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_rclpy,
    check_rmw,
    check_messages,
    check_torch,
    check_kinematics,
    check_gpu,
    check_rendering,
    check_dds_profile,
    check_shared_memory,
    check_disk,
    check_temporary_folder,
    check_video,
    check_pusht,
    check_accelerate,
    check_real_time,
    check_memory_lock,
    check_launch,
    check_spacemouse,
    check_camera,
    check_camera_devices,
)


def examine() -> list[Finding]:
    """Run all checks."""
    return [check() for check in CHECKS]


def _module(name: str, cost: str, fix: str) -> Finding:
    """Whether a module imports, with its version."""
    try:
        module = importlib.import_module(name)
    except Exception as error:
        return Finding(name, MISSING, f"{type(error).__name__}: {error}", cost, fix)
    version = getattr(module, "__version__", "") or _distribution_version(f"ros-{name}") or "installed"
    return Finding(name, OK, version)


def _distribution_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
