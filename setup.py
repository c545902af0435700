"""Say what pyproject.toml cannot: the folders at the root are installed as ``nisqkit.<folder>``."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("cli", "qml", "compression", "hardware_backends", "noise", "circuits", "search")

# Computed, not listed, so that a new subfolder cannot be missing from the wheel; "namespace", so
# that folders which hold only data are shipped too.
found = find_namespace_packages(
    include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")],
    exclude=["*.__pycache__"],
)
setup(
    packages=[f"nisqkit.{package}" for package in found],
    package_dir={f"nisqkit.{folder}": folder for folder in FOLDERS},
)
