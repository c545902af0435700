"""The examples in all docstrings run.

The modules are imported by name: ``pytest --doctest-modules qml`` would import the same files a
second time, as ``qml.layer`` beside ``nisqkit.qml.layer``.
"""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [init.parent for init in sorted(ROOT.glob("*/__init__.py"))]
MODULES = [
    ".".join(["nisqkit", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for folder in FOLDERS
    for path in sorted(folder.rglob("*.py"))
]
# Modules of other projects that only an extra installs.
EXTRAS = {"pennylane", "qiskit_qasm3_import", "mitiq", "ply", "pylatexenc"}


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    except ModuleNotFoundError as error:
        if error.name in EXTRAS:
            pytest.skip(f"{name} needs an extra: {error}")
        raise
    assert result.failed == 0
