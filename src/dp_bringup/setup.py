from pathlib import Path

from setuptools import find_packages, setup

NAME = "dp_bringup"


def tree(folder: str) -> list[tuple[str, list[str]]]:
    """Every file below `folder` (a link to the repository's), to be installed into this package's share."""
    suffixes = (".py", ".yaml", ".xml", ".urdf", ".rules")
    files = sorted(path for path in Path(folder).rglob("*.*") if path.suffix in suffixes)
    folders = sorted({path.parent for path in files})
    return [(f"share/{NAME}/{parent}", [str(f) for f in files if f.parent == parent]) for parent in folders]


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={"": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *tree("launch"),
        *tree("config"),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Diffusion Policy ROS 2 maintainers",
    maintainer_email="maintainers@diffusion-policy-ros2.org",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "dp = dp_bringup.cli:main",
        ]
    },
)
