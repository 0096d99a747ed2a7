"""Offscreen camera pictures without a display: EGL or OSMesa, whichever works here.

Thread contract: make, use and close `CameraRenderer` in one thread.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

BACKENDS = ("egl", "osmesa")
DEBIAN_PACKAGES = "libegl1 libgl1-mesa-dri (EGL) or libosmesa6 (OSMesa)"
_HIDDEN_GROUPS = (3, 4, 5)
_PROBE_TIMEOUT_S = 60.0
_MOST_GEOMS = 400
_PROBE = """
import mujoco
from dp_sim.cameras import CameraRenderer
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 1"/><geom size="1"/><camera name="c" pos="0 0 3"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = CameraRenderer(model, {'c': (8, 8)}, backend='BACKEND')
if renderer.render(data, 'c').max() == 0:
    raise SystemExit('black picture')
renderer.close()
"""


class RenderingUnavailableError(RuntimeError):
    """No offscreen OpenGL back end works on this machine."""


class UnknownCameraError(ValueError):
    """The model has no such camera."""


def choose_backend() -> str:
    """Name of the first back end that renders here; MUJOCO_GL, when set, is the only candidate.

    Each candidate is tried in a process of its own, because a broken driver may end the process. The choice is kept
    in MUJOCO_GL, so children need no probe.

    Raises:
        RenderingUnavailableError: none works; names the Debian packages.
    """
    asked = os.environ.get("MUJOCO_GL", "")
    if os.environ.get("DP_SIM_GL_PROBED") == asked and asked:
        return asked
    reasons = []
    for backend in (asked,) if asked in BACKENDS else BACKENDS:
        problem = probe_backend(backend)
        if not problem:
            os.environ["MUJOCO_GL"] = os.environ["DP_SIM_GL_PROBED"] = backend
            return backend
        reasons.append(f"{backend}: {problem}")
    raise RenderingUnavailableError(
        f"no camera pictures without OpenGL: install the Debian packages {DEBIAN_PACKAGES} ({'; '.join(reasons)})"
    )


def probe_backend(backend: str) -> str:
    """Try one back end in a subprocess. Returns an empty text, or the last line of the error."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE.replace("BACKEND", backend)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no picture within {_PROBE_TIMEOUT_S:g} s"
    if result.returncode == 0:
        return ""
    lines = result.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended with code {result.returncode}"


class CameraRenderer:
    """Renders named cameras of a model, each in its own size."""

    def __init__(self, model: mujoco.MjModel, sizes: Mapping[str, tuple[int, int]], backend: str | None = None) -> None:
        """Make the OpenGL context.

        Args:
            model: the cell's model.
            sizes: (width, height) in pixels for each camera name.
            backend: egl or osmesa; chosen by `choose_backend` when None.

        Raises:
            UnknownCameraError: a name that the model does not have; lists the valid ones.
            RenderingUnavailableError: see `choose_backend`.
        """
        known = [model.camera(i).name for i in range(model.ncam)]
        for name in sizes:
            if name not in known:
                raise UnknownCameraError(f"no camera {name!r}; the cameras are {', '.join(known)}")
        backend = backend or choose_backend()
        os.environ["MUJOCO_GL"] = backend
        width = max(w for w, _ in sizes.values())
        height = max(h for _, h in sizes.values())
        self._context_gl = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._context_gl.make_current()
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._model = model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=_MOST_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        for group in _HIDDEN_GROUPS:
            self._option.geomgroup[group] = self._option.sitegroup[group] = 0
        self._perturb = mujoco.MjvPerturb()
        self._cameras = {name: self._fixed_camera(model.camera(name).id) for name in sizes}
        self._buffers = {name: np.zeros((h, w, 3), np.uint8) for name, (w, h) in sizes.items()}

    @staticmethod
    def _fixed_camera(index: int) -> mujoco.MjvCamera:
        camera = mujoco.MjvCamera()
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, index
        return camera

    @property
    def names(self) -> tuple[str, ...]:
        """Cameras that can be rendered."""
        return tuple(self._cameras)

    def render(self, data: mujoco.MjData, name: str) -> NDArray[np.uint8]:
        """Picture (H, W, 3) uint8 RGB, top row first; a new C-contiguous array."""
        buffer = self._buffers[name]
        viewport = mujoco.MjrRect(0, 0, buffer.shape[1], buffer.shape[0])
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            self._perturb,
            self._cameras[name],
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(buffer, None, viewport, self._context)
        return np.ascontiguousarray(buffer[::-1])

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._context_gl.free()
