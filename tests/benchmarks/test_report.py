"""What the benchmarks' results become: runs that are merged, and the tables of the report.

The benchmarks are scripts, so each test runs a few lines in their folder.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str) -> str:
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=120
    ).stdout


TIMED = """
def timed(ms, ratio, date):
    return {
        "status": "timed", "date": date, "setting": "1 thread", "threads": 1, "step_ms": ms,
        "step_spread": None, "rounds": 3, "peak_mb": 2.0, "import_mb": 1.0, "ratio": ratio,
        "ratio_range": [ratio / 2, 2 * ratio], "precision": "complex64", "settings": {},
        "cold": {"import_s": 1.0, "build_s": 1.0, "first_s": 1.0}, "versions": {},
        "differences": {"weights": 1e-8, "inputs": 1e-8},
    }

def comparison(date, ours, peers):
    about = {"rounds": 3, "seconds": 0.1, "limit": 60, "load": [0.0, 0.0], "nisqkit_ms": ours}
    peers = {"nisqkit": timed(ours, 1.0, date), **peers}
    return {"workload": WORKLOADS["W1"].as_dict(), "runs": {date: about}, "peers": peers}
"""


def test_peers_of_earlier_runs_keep_their_ratio_and_their_date(tmp_path: Path) -> None:
    run(
        f"""
from pathlib import Path
from report import write
from store import Store
from workloads import WORKLOADS
{TIMED}
store = Store(Path({str(tmp_path)!r}))
over = {{"status": "over the limit", "reason": "a step took more than 60 s", "date": "day 1"}}
first = {{"torch_naive": timed(8.0, 4.0, "day 1"), "torq": over}}
store.merge_run(comparison("day 1", 2.0, first), "steps", "W1")
wrong = {{"status": "wrong", "reason": "loss off by 1.0", "date": "day 2"}}
second = {{"qulacs": timed(9.0, 9.0, "day 2"), "pyqtorch": wrong}}
store.merge_run(comparison("day 2", 1.0, second), "steps", "W1")
write(store)
"""
    )
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert any(line.startswith("| W1 |") and "1.00 | torch_naive | 4.00" in line for line in lines)
    assert "| torq | over the limit |" in lines
    assert "- pyqtorch is not timed, wrong: loss off by 1.0" in lines
    (before,) = [line for line in lines if line.startswith("- day 1")]
    assert "nisqkit 2.00 ms" in before and before.endswith(": torch_naive, torq")
    assert any(line.startswith("- day 2") and "nisqkit 1.00 ms" in line for line in lines)


def test_predictions_that_are_off_by_more_than_a_factor_of_two_are_listed(tmp_path: Path) -> None:
    run(
        f"""
from pathlib import Path
from report import write
from store import Store
from workloads import SCALING
store = Store(Path({str(tmp_path)!r}))
for workload, measured in zip(SCALING["depth"], (1.9, 2.1, 0.4)):
    ours = {{"status": "timed", "step_ms": measured, "predicted_ms": 1.0}}
    point = {{"workload": workload.as_dict(), "peers": {{"nisqkit": ours}}}}
    store.put(point, "scaling", "depth", workload.key)
write(store)
"""
    )
    text = (tmp_path / "report.md").read_text()
    assert "1 of 3 steps of nisqkit take between 1/2 and 2 times" in text
    listed = [line for line in text.splitlines() if line.startswith("| depth |")]
    assert [line.split(" | ")[-1] for line in listed] == ["2.10 |", "0.400 |"]
    assert (tmp_path / "predicted.png").exists()


def test_a_call_over_the_limit_ends_the_process() -> None:
    script = """
from processes import OverLimit, Process, Setting
from workloads import Workload
try:
    Process("torch_naive", Workload("hardware_efficient", 4, 1, 2), Setting(1), "native", 0.01)
except OverLimit as error:
    print(error)
"""
    assert "importing and building took more than 0 s" in run(script)
