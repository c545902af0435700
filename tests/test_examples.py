"""The programs in examples/ and the Python blocks of README.md and docs/ run as they stand."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python\n" in page.read_text(encoding="utf-8")
]
TIME_LIMIT = 60  # seconds; an example is something to read, not a study

# A process that forks one child after another, each of which runs the script of the folder that a
# line names: importing everything anew takes longer than most examples themselves.
FORKS = f"""
import importlib, os, runpy, signal, sys
for name in ("nisqkit.qml", "sklearn.linear_model", "pennylane", "matplotlib.pyplot",
             "qiskit_aer", "qiskit_ibm_runtime", "torch._dynamo"):
    importlib.import_module(name)
for line in sys.stdin:
    folder = line.rstrip("\\n")
    pid = os.fork()
    if pid == 0:
        signal.alarm({TIME_LIMIT})
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv, sys.path[0] = ["script.py"], folder
        break
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    os._exit(0)
runpy.run_path("script.py", run_name="__main__")
"""

Run = Callable[[str], None]


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate(timeout=TIME_LIMIT)


@pytest.fixture
def run(forks: subprocess.Popen[str], tmp_path: Path) -> Run:
    """Runs code as a user would: a process of its own, in another folder than the checkout."""

    def in_a_fork(code: str) -> None:
        (tmp_path / "script.py").write_text(code, encoding="utf-8")
        assert forks.stdin is not None and forks.stdout is not None
        forks.stdin.write(f"{tmp_path}\n")
        forks.stdin.flush()
        ended = int(forks.stdout.readline())
        assert ended == 0, (tmp_path / "output.txt").read_text() or f"killed by signal {-ended}"

    return in_a_fork


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path, run: Run) -> None:
    run(example.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_blocks_of_a_page_run_in_order(page: Path, run: Run) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    run("\n".join(blocks))
