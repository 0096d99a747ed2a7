"""Say in one line what the set-up needs from the system and cannot find, before any work is done.

Runs under any Python 3 with the standard library only, because it runs before the environment exists.

    python3 tools/probe_system.py              # exit 0: all there; exit 1: one line that says what to install
    python3 tools/probe_system.py --packages   # only the names of the missing Debian/Ubuntu packages
    python3 tools/probe_system.py --test-packages   # those without which some tests are skipped
"""

import ctypes
import glob
import os
import platform
import shutil
import sys
import sysconfig

SUPPORTED = ((3, 11), (3, 14))  # first version served, first version not served by the pinned wheels
SOFTWARE_DRIVERS = (
    "/usr/lib/*/dri/*swrast_dri.so",
    "/usr/lib*/dri/*swrast_dri.so",
    "/usr/lib/*/libgallium*.so",
)


def interpreter_problem():
    """Why this interpreter or processor cannot be served by the pinned wheels; None when it can."""
    if not SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]:
        return (
            f"Python {platform.python_version()} at {sys.executable} is not supported: the pinned ROS 2 "
            "wheels serve 3.11 to 3.13. Install one (apt-get install python3.12 python3.12-venv python3.12-dev) "
            "and run: make setup PYTHON=python3.12"
        )
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (
            f"{platform.system()} on {platform.machine()} has no ROS 2 wheels: install ROS 2 Jazzy from apt "
            "and build with colcon (README, 'On a machine with ROS 2 Jazzy')"
        )
    return None


def loads(library):
    """Whether the dynamic linker finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_rendering():
    """Debian packages that off-screen rendering still needs; either EGL with a driver or OSMesa will do."""
    if loads("libOSMesa.so.8") or loads("libOSMesa.so"):
        return []
    packages = []
    if not loads("libEGL.so.1"):
        packages.append("libegl1")
    software = any(glob.glob(pattern) for pattern in SOFTWARE_DRIVERS)
    if not software and not loads("libEGL_nvidia.so.0"):
        packages.append("libgl1-mesa-dri")
    return packages


def missing_packages():
    """Debian/Ubuntu names of the system packages that are missing, in a stable order."""
    packages = []
    if shutil.which("cmake") is None:
        packages.append("cmake")
    if shutil.which("make") is None and shutil.which("ninja") is None:
        packages.append("make")
    if shutil.which(os.environ.get("CC", "cc")) is None and shutil.which("gcc") is None:
        packages.append("gcc")
    if shutil.which(os.environ.get("CXX", "c++")) is None and shutil.which("g++") is None:
        packages.append("g++")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        packages.append(version + "-dev")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        packages.append(version + "-venv")
    return packages + missing_rendering()


def missing_test_packages():
    """Debian/Ubuntu names of what only tests use, which skip what they cannot do without it."""
    # The driver of SpaceMice is tested against the daemon itself.
    return [] if shutil.which("spacenavd") else ["spacenavd"]


def main():
    """Print the verdict; the exit status is 1 when something is missing."""
    packages = missing_packages()
    if "--test-packages" in sys.argv[1:]:
        print(" ".join(missing_test_packages()))
        return 0
    if "--packages" in sys.argv[1:]:
        print(" ".join(packages))
        return 0
    problem = interpreter_problem()
    if problem is None and packages:
        names = " ".join(packages)
        problem = f"missing from the system: {names}. Install with: sudo apt-get install -y {names}"
    if problem is not None:
        print("setup: " + problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
