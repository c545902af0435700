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

import cold as cold_start
import environments
import memory as peak_memory
import typer
from compare import Comparison, Effort
from peers import NISQKIT, PEERS
from processes import without_avx512
from reference import self_check
from report import write
from store import Store
from workloads import MEMORY, SCALING, WORKLOADS, Workload

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


Peers = Annotated[str, typer.Option(help="Peers, separated by commas, or 'all', or 'none'.")]
Limit = Annotated[float, typer.Option(help="Seconds that one call of a peer may take.")]
CompileLimit = Annotated[float, typer.Option(help="The same for a first call that compiles.")]
Out = Annotated[Path | None, typer.Option(help="Folder; default benchmarks/results/<date>.")]
Quick = Annotated[bool, typer.Option(help="Few short rounds: to see that it works.")]


def _names(given: str, known: list[str], what: str) -> list[str]:
    names = {"all": known, "none": []}.get(given, given.split(","))
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
    limit: Limit = 60,
    compile_limit: CompileLimit = 300,
    isa: Annotated[Isa, typer.Option(help="avx2: nobody uses AVX-512.")] = Isa.native,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Time W1 to W5, peers in turns. Peers that are not named keep their results."""
    store, names = Store(out), _peers(peers)
    store.put(self_check(), "reference")
    effort = _effort(Effort(rounds, seconds, limit, compile_limit), quick)
    section = "steps" if isa is Isa.native else f"steps-{isa}"
    for key in _names(workloads, list(WORKLOADS), "workload"):
        print(f"{key}: {WORKLOADS[key].title}", flush=True)
        run = Comparison(WORKLOADS[key], effort, str(isa), _log).run(names)
        store.merge_run(run, section, key)
        write(store)


def _effort(effort: Effort, quick: bool) -> Effort:
    return effort.quick() if quick else effort


def _log(line: str) -> None:
    print(line, flush=True)


@app.command()
def scaling(
    series: Annotated[str, typer.Option(help=f"{','.join(SCALING)} or 'all'.")] = "all",
    peers: Peers = SCALING_PEERS,
    largest: Annotated[int, typer.Option(help="Leave out more qubits than this.")] = 24,
    rounds: Annotated[int, typer.Option(help="Rounds of turns.")] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds per peer and round.")] = 0.2,
    limit: Limit = 60,
    compile_limit: CompileLimit = 120,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Time steps of growing size (qubits, batch, depth) beside what our cost model predicts."""
    store, names = Store(out), _peers(peers)
    only = {"all_settings": False, "forward": False, "reference": False}
    effort = _effort(Effort(rounds, seconds, limit, compile_limit, **only), quick)
    for name in _names(series, list(SCALING), "series"):
        left = list(names)
        points = [w for w in SCALING[name] if w.qubits <= largest]
        for workload in points[:: 3 if quick else 1]:
            print(f"{name}: {workload.title}", flush=True)
            run = Comparison(workload, effort, log=_log).run(left)
            store.merge_run(run, "scaling", name, workload.key)
            left = [p for p in left if _fast_enough(run["peers"].get(p, {}))]
        _predict(store, name)
    write(store)


def _predict(store: Store, name: str) -> None:
    from costs import predict

    section = store.get("scaling", name)
    predict(section)
    store.put(section, "scaling", name)


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
        store.put(cold_start.measure(key), "cold", key)
        print(f"{key}: {store.get('cold', key)}", flush=True)
    write(store)


@app.command()
def memory(
    peers: Peers = "torch_naive",
    limit: Limit = 60,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """Measure the peak memory of steps of growing depth, each in a fresh process."""
    store, names = Store(out), _peers(peers)
    for name, workloads in MEMORY.items():
        for workload in workloads[:: 2 if quick else 1]:
            for peer in dict.fromkeys([NISQKIT, *names]):
                found = peak_memory.measure(peer, workload, limit)
                print(f"{workload.title}: {peer} {found}", flush=True)
                store.put(found, "memory", name, peer, str(workload.layers))
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
    effort = _effort(Effort(rounds, seconds, forward=False), quick)
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
def report(
    predict: Annotated[bool, typer.Option(help="Predict anew, with today's cost model.")] = False,
    out: Out = None,
) -> None:
    """Write the Markdown report and the pictures again from results.json."""
    store = Store(out)
    for name in store.get("scaling") if predict else ():
        _predict(store, name)
    print(write(store))


@app.command("all")
def everything(
    peers: Peers = "all",
    workloads: Annotated[str, typer.Option(help="W1,... or 'all'.")] = "all",
    limit: Limit = 60,
    quick: Quick = False,
    out: Out = None,
) -> None:
    """All of the above, in an order that puts the most important first."""
    if quick and peers == "all":
        peers = QUICK_PEERS
    if quick and workloads == "all":
        workloads = "W1,W2"
    steps(workloads=workloads, peers=peers, limit=limit, quick=quick, out=out)
    roofline(quick=quick, out=out)
    cold(workloads="W1" if quick else "W1,W3,W5", out=out)
    memory(quick=quick, out=out)
    chosen = SCALING_PEERS if peers == "all" else peers
    scaling(peers=chosen, limit=limit, quick=quick, largest=12 if quick else 24, out=out)
    if quick:
        workloads = workloads.split(",")[0]
    steps(workloads=workloads, peers=peers, limit=limit, isa=Isa.avx2, quick=quick, out=out)


if __name__ == "__main__":
    app()
