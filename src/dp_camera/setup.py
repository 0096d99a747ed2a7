from setuptools import find_packages, setup

NAME = "dp_camera"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={"": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Diffusion Policy ROS 2 maintainers",
    maintainer_email="maintainers@diffusion-policy-ros2.org",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera_node = dp_camera.node:main",
        ]
    },
)
