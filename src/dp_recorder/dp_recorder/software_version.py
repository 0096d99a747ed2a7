"""Which software recorded an episode."""

from importlib import metadata


def software_version() -> str:
    """Version of the installed recorder."""
    for distribution in ("diffusion-policy-ros2", "dp-recorder", "dp_recorder"):
        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
