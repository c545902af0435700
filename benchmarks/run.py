"""Benchmarks of nisqkit against other libraries; see docs/benchmarks.md.

python benchmarks/run.py --help
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import environments
import typer
from cold import measure
from compare import QUICK, Comparison, Effort
from peers import NISQKIT, PEERS
from processes import without_avx512
from reference import self_check
from report import write
from store import Store
from workloads import SCALING, WORKLOADS, Workload

HERE = Path(__file__).parent
SCALING_PEERS = "torch_naive,pennylane_lightning,torchquantum_ng"
QUICK_PEERS = "torch_naive,pennylane_lightning,pennylane_jax"
GIVE_UP = 10.0
"""Seconds of a step after which a peer is left out of the larger sizes of a series."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


class Isa(StrEnum):
    """Which vector instructions may be used."""

    native = "native"
    avx2 = "avx2"


Peers = Annotated[str, typer.Option(help="Peers, separated by commas, or 'all'.")]
Out = Annotated[Path | None, typer.Option(help="Folder; default benchmarks/results/<date>.")]
Quick = Annotated[bool, typer.Option(help="Few short rounds: to see that it works.")]


def _names(given: str, known: list[str], what: str) -> list[str]:
    names = known if given == "all" else given.split(",")
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"unknown {what} {name!r}; known are {', '.join(known)}")
    return names


def _peers(given: str) -> list[str]:
    names = _names(given, list(PEERS), "peer")
    environments.build_for(names)
    return names


@app.command("environments")
def build_environments(peers: Peers = "all") -> None:
    """Build one environment per peer, below benchmarks/.venvs."""
    _peers(peers)


@app.command()
def steps(
    workloads: Annotated[str, typer.Option(help="W1,W1b,W2,W3,W4,W5 or 'all'.")] = "all",
    peers: Peers = "all",
    rounds: Annotated[int, typer.Option(help="Rounds of turns.")] = 7,
    seconds: Annotated[float, typer.Option(help="Seconds per peer and round.")] = 0.4,
    isa: Annotated[Isa, typer.Option(help="avx2: nobody uses AVX-512.")] = Isa.native,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Time W1 to W5, peers in turns. Peers that are not named keep their results."""
    store, names = Store(out), _peers(peers)
    store.put(self_check(), "reference")
    effort = QUICK if quick else Effort(rounds, seconds)
    section = "steps" if isa is Isa.native else f"steps-{isa}"
    for key in _names(workloads, list(WORKLOADS), "workload"):
        print(f"{key}: {WORKLOADS[key].title}", flush=True)
        run = Comparison(WORKLOADS[key], effort, str(isa), _log).run(names)
        store.merge_run(run, section, key)
        print(f"  took {run['took_s']:.0f} s", flush=True)
    write(store)


def _log(line: str) -> None:
    print(line, flush=True)


@app.command()
def scaling(
    series: Annotated[str, typer.Option(help=f"{','.join(SCALING)} or 'all'.")] = "all",
    peers: Peers = SCALING_PEERS,
    largest: Annotated[int, typer.Option(help="Leave out more qubits than this.")] = 24,
    rounds: Annotated[int, typer.Option(help="Rounds of turns.")] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds per peer and round.")] = 0.2,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Time steps of growing size: qubits, batch, depth."""
    store, names = Store(out), _peers(peers)
    if quick:
        rounds, seconds = QUICK.rounds, QUICK.seconds
    effort = Effort(rounds, seconds, first_limit=120, all_settings=False, forward=False)
    for name in _names(series, list(SCALING), "series"):
        left = list(names)
        points = [w for w in SCALING[name] if w.qubits <= largest]
        for workload in points[:: 3 if quick else 1]:
            print(f"{name}: {workload.title}", flush=True)
            run = Comparison(workload, effort, log=_log).run(left)
            store.merge_run(run, "scaling", name, workload.key)
            left = [p for p in left if _fast_enough(run["peers"].get(p, {}))]
    write(store)


def _fast_enough(result: dict[str, object]) -> bool:
    step = result.get("step_ms")
    return isinstance(step, float) and step < 1e3 * GIVE_UP


@app.command()
def cold(
    workloads: Annotated[str, typer.Option(help="W1,... or 'all'.")] = "W1,W3,W5",
    out: Out = None,
) -> None:
    """Time the first step of fresh processes, with an empty and with a warm kernel cache."""
    store = Store(out)
    for key in _names(workloads, list(WORKLOADS), "workload"):
        store.put(measure(key), "cold", key)
        print(f"{key}: {store.get('cold', key)}", flush=True)
    write(store)


@app.command()
def roofline(
    workloads: Annotated[str, typer.Option(help="W1,... or 'all'.")] = "W2,W3",
    rounds: Annotated[int, typer.Option(help="Rounds of turns.")] = 7,
    seconds: Annotated[float, typer.Option(help="Seconds per round.")] = 0.4,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Measure the machine's peak and our share of it, with AVX-512 (if there is) and without."""
    store = Store(out)
    effort = QUICK if quick else Effort(rounds, seconds, forward=False)
    for isa, env in (("native", {}), ("avx2", without_avx512())):
        done = subprocess.run(
            [sys.executable, HERE / "roofline.py"],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=True,
        )
        result = {"machine": json.loads(done.stdout), "steps": {}}
        for key in _names(workloads, list(WORKLOADS), "workload"):
            result["steps"][key] = _share(WORKLOADS[key], effort, isa, result["machine"])
            print(f"{isa} {key}: {result['steps'][key]['threads']}", flush=True)
        store.put(result, "roofline", isa)
    write(store)


def _share(
    workload: Workload, effort: Effort, isa: str, peak: dict[str, dict[str, dict[str, float]]]
) -> dict[str, object]:
    from flops import count

    run = Comparison(workload, effort, isa, _log).run([NISQKIT])
    counted = count(workload)
    by_threads = {}
    for label, step in run["peers"][NISQKIT]["settings"].items():
        threads = label.split()[0]
        rate = counted.total / (1e6 * step)
        by_threads[threads] = {
            "step_ms": step,
            "gflops": rate,
            "share": rate / peak["threads"][threads]["gflops"],
        }
    return {
        "flops": counted.total,
        "per_amplitude": counted.per_amplitude,
        "rows": [vars(row) for row in counted.rows],
        "threads": by_threads,
    }


@app.command()
def report(out: Out = None) -> None:
    """Write the Markdown report and the pictures again from results.json."""
    print(write(Store(out)))


@app.command("all")
def everything(
    peers: Peers = "all",
    workloads: Annotated[str, typer.Option(help="W1,... or 'all'.")] = "all",
    quick: Quick = False,
    out: Out = None,
) -> None:
    """All of the above, in an order that puts the most important first."""
    if quick and peers == "all":
        peers = QUICK_PEERS
    if quick and workloads == "all":
        workloads = "W1,W2"
    steps(workloads=workloads, peers=peers, quick=quick, out=out)
    roofline(quick=quick, out=out)
    cold(workloads="W1" if quick else "W1,W3,W5", out=out)
    chosen = SCALING_PEERS if peers == "all" else peers
    scaling(peers=chosen, quick=quick, largest=12 if quick else 24, out=out)


if __name__ == "__main__":
    app()
