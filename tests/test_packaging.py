"""What the packaging promises: names, folders, extras and pinned versions agree with each other."""

import ast
import importlib.util
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT_TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads(PYPROJECT_TEXT)
FOLDERS = sorted(init.parent.name for init in ROOT.glob("*/__init__.py"))
PACKAGES = sorted(
    init.parent for folder in FOLDERS for init in (ROOT / folder).rglob("__init__.py")
)
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# The extras that users ask for, with the modules they bring.
EXTRA_MODULES = {
    "pennylane": {"pennylane"},
    "qasm": {"qiskit_qasm3_import"},
    "mitigation": {"mitiq", "ply"},
    "draw": {"pylatexenc"},
    "search": {"psycopg"},
    "compression": {"torch_pruning", "onnx", "onnxscript", "onnxruntime", "torchao"},
}


def dotted(package: Path) -> str:
    return ".".join(package.relative_to(ROOT).parts)


# --- names and folders ---


@pytest.mark.parametrize("package", PACKAGES, ids=dotted)
def test_a_folder_cannot_be_imported_under_its_bare_name(package: Path) -> None:
    # From the root of the checkout, `import qml` would load every class a second time.
    name = dotted(package)
    spec = importlib.util.spec_from_file_location(name, package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=rf"^import nisqkit\.{name}, not {name}$"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_setup_maps_every_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(ROOT / "setup.py"))
    assert given["package_dir"] == {f"nisqkit.{folder}": folder for folder in FOLDERS}
    assert {f"nisqkit.{dotted(package)}" for package in PACKAGES} <= set(given["packages"])
    assert not [package for package in given["packages"] if "__pycache__" in package]


def test_folders_with_code_are_packages_and_typed() -> None:
    assert {path.parent for path in SOURCES} == set(PACKAGES)
    assert [folder for folder in FOLDERS if not (ROOT / folder / "py.typed").is_file()] == []


def test_pyright_checks_every_folder() -> None:
    links = {f"build/types/nisqkit/{folder}" for folder in FOLDERS}
    assert set(PYPROJECT["tool"]["pyright"]["include"]) == links | {"examples", "tests"}


def test_import_linter_knows_every_folder() -> None:
    config = PYPROJECT["tool"]["importlinter"]
    names = {f"nisqkit.{folder}" for folder in FOLDERS}
    layers, mitiq, _ = config["contracts"]
    assert set(config["root_packages"]) == set(layers["layers"]) == names
    assert set(mitiq["source_modules"]) == names


def test_every_data_file_is_shipped() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_dir() or path.suffix == ".py" or "__pycache__" in path.parts:
                continue
            # Patterns are relative to the package, and every folder is one, data folders too.
            assert any(fnmatch(path.name, pattern) for pattern in patterns), path


# --- extras ---


def files_named_for(extra: str) -> list[str]:
    """The files which the comment above an extra names."""
    section = PYPROJECT_TEXT.split("[project.optional-dependencies]")[1]
    comment = re.search(rf"((?:^#.*\n)+)^{extra} = ", section, flags=re.MULTILINE)
    assert comment, f"no comment above the extra {extra!r}"
    return re.findall(r"[\w.]+/[\w./]*|Makefile", comment[1])


def modules_imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_comment_on_an_extra_names_files_that_exist(extra: str) -> None:
    named = files_named_for(extra)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("extra", EXTRA_MODULES)
def test_only_the_named_files_import_an_extra(extra: str) -> None:
    named = tuple(files_named_for(extra))
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if EXTRA_MODULES[extra] & set(modules_imported_by(path))
    ]
    assert [path for path in importing if not path.startswith(named)] == []


def test_every_import_is_of_a_declared_dependency() -> None:
    declared = {
        canonicalize_name(Requirement(line).name)
        for line in PYPROJECT["project"]["dependencies"]
        + [line for extra in EXTRA_MODULES for line in EXTRAS[extra]]
    }
    providers = packages_distributions()
    for path in SOURCES:
        for module in set(modules_imported_by(path)) - sys.stdlib_module_names - {"nisqkit"}:
            provided_by = {canonicalize_name(name) for name in providers.get(module, [])}
            assert provided_by & declared, f"{path} imports {module}, which nothing declares"


def test_all_means_all_extras() -> None:
    assert set(EXTRAS) == {*EXTRA_MODULES, "dev", "all"}
    (everything,) = EXTRAS["all"]
    assert Requirement(everything).extras == {*EXTRA_MODULES, "dev"}


# --- versions ---


def needed_with_all_extras() -> set[str]:
    """Names of everything that nisqkit and its extras need, directly or not."""
    todo = {("nisqkit", "all")}
    done: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        done.add((name, extra))
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # the loop that asked for it names it already
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted = {(canonicalize_name(requirement.name), e) for e in requirement.extras}
                todo |= ({(canonicalize_name(requirement.name), "")} | wanted) - done
    return {name for name, _ in done} - {"nisqkit"}


def test_constraints_pin_everything_that_is_needed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    pinned = {canonicalize_name(pin.split("==")[0]) for pin in pins}
    # torch itself pins the libraries that its CUDA builds bring.
    unpinned = {
        name
        for name in needed_with_all_extras() - pinned
        if not name.startswith(("nvidia-", "cuda-", "triton"))
    }
    assert unpinned == set()


def test_the_changelog_describes_this_version() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
