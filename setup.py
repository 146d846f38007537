"""Makes the slice importable from anywhere in its virtual environment."""

from setuptools import find_namespace_packages, setup

setup(
    name="program-certificate-events",
    version="0.1.0",
    description="Program certificate events for openedx-platform, and the slice of the platform they are proved on",
    license="AGPL-3.0-only",
    python_requires=">=3.11",
    packages=find_namespace_packages(
        include=["benchmarks*", "cms*", "common*", "lms*", "openedx*", "testbed*", "xmodule*"],
    ),
)
