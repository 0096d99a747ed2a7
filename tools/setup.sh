#!/usr/bin/env bash
# Make .venv ready: pinned packages and ROS 2 wheels, dp_msgs compiled into it, this project installed editable,
# its nodes registered for `ros2 run` and `ros2 launch`. Each stage leaves a stamp with the hash of its inputs,
# so that a second run does nothing and a changed input redoes only its own stage.
#
#   make setup                      # picks a supported Python
#   PYTHON=python3.12 make setup
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH ROS_DISTRO  # a sourced ROS must not leak in
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE  # set by the wheels for the children of another environment

venv="$PWD/.venv"
stamps="$venv/.stamps"
python="$venv/bin/python"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Hash of files and of the checkout's place, which the installed scripts name.
hash_of() { { printf '%s\n' "$PWD"; cat "$@"; } | sha256sum | cut -c1-16; }

# Run a stage unless its stamp holds the present hash of its inputs. usage: stage NAME HASH FUNCTION
stage() {
  local stamp="$stamps/$1"
  [ "$(cat "$stamp" 2>/dev/null)" = "$2" ] && return 0
  local log="$stamps/$1.log" start=$SECONDS
  say "$1 ..."
  if ! ( set -e; "$3" ) >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    die "$1 failed; the whole log is $log"
  fi
  printf '%s\n' "$2" >"$stamp"
  say "$1 done in $((SECONDS - start)) s"
}

# The interpreter that PYTHON names, else the first supported one on the path.
choose_python() {
  local name
  for name in ${PYTHON:-python3 python3.12 python3.11 python3.13}; do
    if "$name" tools/probe_system.py 2>/dev/null; then printf '%s\n' "$name"; return 0; fi
  done
  name=${PYTHON:-python3}
  "$name" -c '' 2>/dev/null || die "no working Python named '$name': install python3.12 or python3.11, or set PYTHON"
  "$name" tools/probe_system.py || exit 1  # says in one line what is missing
}

install_packages() {
  "$python" -m pip install --quiet -c constraints.txt pip setuptools wheel
  "$python" -m pip install -c constraints.txt -r tools/ros-wheels.txt --no-build-isolation -e '.[robot,train,sim,pusht,pretrained,dev]'
  # Without its dependencies: it asks for opencv-python, which needs a screen library and hides our headless cv2.
  "$python" -m pip install --no-deps gym-pusht==0.1.8
}

compile_messages() {
  local build="$PWD/build/pip/dp_msgs"
  rm -rf "$build"
  AMENT_PREFIX_PATH="$venv" PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv" cmake -S src/dp_msgs -B "$build" \
    -DCMAKE_PREFIX_PATH="$venv" -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
    -DPython3_EXECUTABLE="$python" -DCMAKE_PROJECT_INCLUDE="$PWD/tools/strip_foreign_includes.cmake"
  AMENT_PREFIX_PATH="$venv" PATH="$venv/bin:$PATH" cmake --build "$build" -j2
  cmake --install "$build"
}

register_nodes() { "$python" tools/register_nodes.py; }

main() {
  local chosen
  if [ -x "$python" ] && "$python" -c '' 2>/dev/null; then
    chosen="$python"
    [ -n "${PYTHON:-}" ] && chosen=$(choose_python)
    if [ "$("$chosen" -c 'import sys; print(sys.version_info[:2])')" != \
         "$("$python" -c 'import sys; print(sys.version_info[:2])')" ]; then
      say "making .venv anew with $("$chosen" --version)"
      rm -rf "$venv"
    fi
  else
    chosen=$(choose_python)
  fi
  "$chosen" tools/probe_system.py || exit 1
  if [ ! -x "$python" ]; then
    say "creating .venv with $("$chosen" --version)"
    rm -rf "$venv"
    "$chosen" -m venv "$venv" || die "could not create .venv: sudo apt-get install -y python3-venv"
  fi
  mkdir -p "$stamps"
  stage packages "$(hash_of constraints.txt tools/ros-wheels.txt pyproject.toml tools/setup.sh)" install_packages
  # shellcheck disable=SC2046 -- file names without spaces
  stage messages "$(hash_of $(find src/dp_msgs -type f | sort) tools/strip_foreign_includes.cmake constraints.txt \
    tools/ros-wheels.txt)" compile_messages
  stage nodes "$(hash_of pyproject.toml tools/register_nodes.py "$stamps/packages")" register_nodes
}

mkdir -p build
exec 9>build/.setup.lock
flock 9  # two makes at once: the second waits and finds everything done
main
