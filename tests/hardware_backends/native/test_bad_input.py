"""The native engine at the edges: too large, nothing at all, not a number, no cache, one core."""

import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numba.core import config
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector

from nisqkit.circuits import AmplitudeInput, angle, hardware_efficient
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.native import NativeBackend, cache
from nisqkit.qml import QuantumLayer

UNUSABLE = "/dev/null/folder"
"""Below a file, so not even root can write there."""


@pytest.mark.parametrize(("num_qubits", "batch"), [(2, 10**11), (20, 10**6)])
@pytest.mark.parametrize("options", [{}, {"observables": "probs"}, {"shots": 10}], ids=str)
def test_batches_that_do_not_fit_are_refused_before_anything_is_allocated(
    num_qubits: int, batch: int, options: dict[str, Any]
) -> None:
    """At least the states are counted, 8 bytes per amplitude; and no absurd number is given."""
    layer = QuantumLayer(angle(num_qubits), "x", **options)
    x = torch.zeros(1, num_qubits).expand(batch, num_qubits)  # takes no memory itself
    message = (
        rf"a state of {num_qubits} qubits for this batch takes (\S+) GiB, but \S+ GiB of memory "
        "are available; use fewer qubits, a smaller batch or float32"
    )
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as error:
        layer(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    found = re.match(message, str(error.value))
    assert found is not None
    states = 8 * 2**num_qubits * batch / 2**30
    assert 0.99 * states < float(found[1]) < 50 * states


def no_qubits() -> QuantumCircuit:
    return QuantumCircuit(0)


def barriers() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.barrier()
    circuit.barrier(0)
    return circuit


def measurements() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.measure_all()
    return circuit


def identities() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.id([0, 1])
    return circuit


@pytest.mark.parametrize("make", [no_qubits, barriers, measurements, identities])
def test_circuits_that_do_nothing(make: Callable[[], QuantumCircuit]) -> None:
    """``|0..0>``, whose gradient is a zero for each of no weights; ``layer()`` is batch one."""
    circuit = make()
    layer = QuantumLayer(circuit)
    values = layer()
    assert values.tolist() == [1.0] * circuit.num_qubits
    values.sum().backward()
    assert layer.weights.grad is not None
    assert layer.weights.grad.shape == (0,)
    probabilities = QuantumLayer(circuit, observables="probs")(torch.zeros(3, 0))
    assert probabilities.tolist() == [[1.0] + [0.0] * (2**circuit.num_qubits - 1)] * 3


def test_batch_zero_trains_nothing_and_batch_one_is_one_sample() -> None:
    """Values by hand: RY(x) then RY(w) is cos(x + w); the ring's CX is left out on one qubit."""
    layer = QuantumLayer(angle(1).compose(hardware_efficient(1, 1)), "x", seed=0).double()
    none = torch.zeros(0, 1, dtype=torch.float64, requires_grad=True)
    layer(none).sum().backward()
    assert layer.weights.grad is not None and not layer.weights.grad.any()
    assert none.grad is not None and none.grad.shape == (0, 1)
    x = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    y = layer(x)
    assert y.shape == (1, 1)
    y.backward()
    total = 0.4 + float(layer.weights[0].detach())
    assert float(y.detach()) == pytest.approx(np.cos(total), abs=1e-14)
    assert x.grad is not None and float(x.grad) == pytest.approx(-np.sin(total), abs=1e-14)


def product_of_weights() -> QuantumCircuit:
    circuit, a, b = QuantumCircuit(1), Parameter("a"), Parameter("b")
    circuit.ry(a * b, 0)
    return circuit


def amplitudes_of_weights() -> QuantumCircuit:
    circuit, v = QuantumCircuit(1), ParameterVector("v", 2)
    circuit.append(AmplitudeInput(list(v)), [0])
    return circuit


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("circuit", "name"),
    [
        (hardware_efficient(1, 1), r"w\[1\]"),
        (product_of_weights(), "b"),
        (amplitudes_of_weights(), r"v\[1\]"),
    ],
    ids=["affine", "formula", "amplitudes"],
)
def test_weights_that_are_not_finite_are_named(
    circuit: QuantumCircuit, name: str, value: float
) -> None:
    """Before a formula or the normalisation could report what it made of them."""
    layer = QuantumLayer(circuit, init=torch.ones(2))
    with torch.no_grad():
        layer.weights[1] = value
    with pytest.raises(ValueError, match=f"weight '{name}' is {value}; weights must be finite"):
        layer()


ONE_CORE = """
import hashlib, os, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from nisqkit.hardware_backends.conformance import random_task
from nisqkit.hardware_backends.native import NativeBackend, rows

task = random_task(9, seed=1, batch=40, num_gates=150)
values = NativeBackend().run([task])[0].values
grads = torch.autograd.grad(values.square().sum(), [task.inputs, task.weights])
assert "nisqkit-native" not in str(threading.enumerate())
print(*(hashlib.sha256(t.detach().numpy().tobytes()).hexdigest() for t in (values, *grads)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_one_core_gives_the_same_bits() -> None:
    """And a ``NUMBA_CACHE_DIR`` that cannot be used is passed over, without a warning."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": UNUSABLE, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", ONE_CORE]
    alone = subprocess.check_output(command, env=environment, timeout=300, text=True).split()
    task = random_task(9, seed=1, batch=40, num_gates=150)  # worth two threads
    values = NativeBackend(threads=2).run([task])[0].values
    grads = torch.autograd.grad(values.square().sum(), [task.inputs, task.weights])
    here = [sha256(t.detach().numpy().tobytes()).hexdigest() for t in (values, *grads)]
    assert alone == here


def in_a_folder_without_a_cache(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """``cache.py`` where ``__pycache__`` is no folder, for a user whose cache folder is none."""
    shutil.copy(cache.__file__, folder / "cache.py")
    (folder / "__pycache__").touch()
    patch.setenv("XDG_CACHE_HOME", UNUSABLE)
    patch.setenv("HOME", UNUSABLE)
    patch.setattr(config, "CACHE_DIR", "")
    spec = spec_from_file_location("cache_elsewhere", folder / "cache.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MESSAGE = "every process compiles those of the native engine anew.* set NUMBA_CACHE_DIR to a folder"


def test_kernels_are_cached_where_they_stand() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.can_cache()


def test_without_a_cache_folder_there_is_one_warning_and_kernels_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = in_a_folder_without_a_cache(tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match="no locator available"):  # what Numba itself does
        njit(cache=True)(module._nothing)
    with pytest.warns(RuntimeWarning, match=MESSAGE) as found:
        able = module.can_cache()
    assert not able
    assert len(found) == 1
    assert njit(cache=able)(module._nothing)() is None
    # what the warning advises
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kernels"))
    assert module.can_cache()
    assert (tmp_path / "kernels").is_dir()


def test_other_errors_of_numba_are_not_taken_for_a_missing_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "CACHE_LOCATOR_CLASSES", "NoSuchLocator")
    with pytest.raises(RuntimeError, match="NoSuchLocator"):
        cache.can_cache()


WITHOUT_CACHE = """
import warnings
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    from nisqkit.hardware_backends.native import rows
print(rows.__file__)
print(*(w.message for w in found if w.category is RuntimeWarning), sep="\\n")
print(rows.one_base(0b1011, 2))
"""


def test_the_engine_can_be_imported_without_a_cache_folder(tmp_path: Path) -> None:
    """One small kernel is compiled; the ``one_base`` of row 1011 at bit 2 is 10011."""
    root, package = Path(cache.__file__).parents[2], tmp_path / "nisqkit"
    package.mkdir()
    for init in root.glob("*/__init__.py"):
        (package / init.parent.name).symlink_to(init.parent)
    backends = package / "hardware_backends"
    backends.unlink()
    shutil.copytree(
        root / "hardware_backends", backends, ignore=shutil.ignore_patterns("__pycache__")
    )
    (backends / "native" / "__pycache__").touch()
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(tmp_path), "HOME": UNUSABLE, "XDG_CACHE_HOME": UNUSABLE}
    command = [sys.executable, "-c", WITHOUT_CACHE]
    output = subprocess.check_output(command, env=environment, timeout=120, text=True)
    file, *messages, number = output.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert len(messages) == 1 and "set NUMBA_CACHE_DIR to a folder" in messages[0]
    assert number == str(0b10011)
