"""The cost model against counts by hand, and in proportion."""

import pytest
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import hardware_efficient, lower, u3_cu3
from nisqkit.hardware_backends.native.cost import PER_STEP, Cost, cost, step_seconds
from nisqkit.hardware_backends.native.operations import on_amplitudes, on_samples
from nisqkit.hardware_backends.native.schedule import schedule

ROUTES = {"samples": on_samples, "amplitudes": on_amplitudes}
BOTH_ROUTES = pytest.mark.parametrize("route", ROUTES)


def of(circuit: QuantumCircuit, batch: int, route: str = "samples", itemsize: int = 4) -> Cost:
    return cost(ROUTES[route](schedule(lower(circuit))), batch, itemsize)


def test_counts_by_hand() -> None:
    """Per amplitude and step 32 multiply-adds for a 2x2 matrix, 64 for a 4x4, none for CX, CZ."""
    w, circuit = ParameterVector("w", 6), QuantumCircuit(3)
    circuit.ry(w[0], 0)
    circuit.rz(w[1], 0)  # one matrix with the one before
    circuit.rx(w[2], 2)
    circuit.cx(0, 1)
    circuit.cz(1, 2)
    circuit.ry(w[3], 1)  # goes into the next
    circuit.crx(w[4], 1, 2)
    circuit.rzz(w[5], 1, 2)  # and so does this
    circuit.cx(1, 0)
    per_amplitude = 2 * 32 + 64
    for batch, amplitudes in ((1, 16 * 8), (16, 16 * 8), (17, 32 * 8), (0, 0)):
        assert of(circuit, batch).multiply_adds == per_amplitude * amplitudes


def test_counts_by_hand_of_one_sample() -> None:
    """Lanes of amplitudes are never empty; exchanges take time, but no multiply-adds."""
    circuit = QuantumCircuit(9)
    for q in range(9):
        circuit.h(q)
    circuit.crx(0.3, 0, 8)
    for batch in (0, 1, 3):
        # the last h on 0 and on 8 go into the controlled gate
        found = of(circuit, batch, "amplitudes")
        assert found.multiply_adds == batch * 2**9 * (7 * 32 + 64)
        assert found.state_bytes == batch * 2**9 * 2 * 4


@BOTH_ROUTES
@pytest.mark.parametrize("itemsize", [4, 8])
def test_memory_does_not_grow_with_depth(route: str, itemsize: int) -> None:
    costs = [of(hardware_efficient(10, layers), 16, route, itemsize) for layers in (1, 10, 60)]
    assert {c.state_bytes for c in costs} == {2 * 16 * 2**10 * itemsize}
    one, ten, sixty = (c.multiply_adds for c in costs)
    assert (ten, sixty) == (10 * one, 60 * one)
    assert costs[0].seconds < costs[1].seconds < costs[2].seconds


@BOTH_ROUTES
def test_double_precision_halves_the_rate(route: str) -> None:
    """All but what Python and each operation take."""
    circuit = u3_cu3(12, 20)
    single, double = (of(circuit, 1, route, itemsize).seconds - PER_STEP for itemsize in (4, 8))
    assert 1.5 * single < double < 4 * single
    assert of(circuit, 1, route, 4).multiply_adds == of(circuit, 1, route, 8).multiply_adds


def test_passes_keep_the_rate_of_the_cache() -> None:
    """Seconds per multiply-add: chunks of 18 qubits fit, the whole state of 17 does not."""
    rates = []
    for num_qubits in (15, 17, 18):
        found = of(hardware_efficient(num_qubits, 20), 1, "amplitudes")
        rates.append((found.seconds - PER_STEP) / found.multiply_adds)
    assert rates[1] > 1.3 * rates[0]
    assert_allclose(rates[2], rates[0], rtol=0.1)


@BOTH_ROUTES
def test_nothing_takes_python_alone(route: str) -> None:
    empty = of(QuantumCircuit(9), 64, route)
    assert (empty.multiply_adds, empty.seconds) == (0, PER_STEP)


@pytest.mark.parametrize("num_qubits", [4, 10, 13])
@pytest.mark.parametrize("batch", [1, 16, 200])
def test_a_step_takes_the_cheaper_route(num_qubits: int, batch: int) -> None:
    circuit = hardware_efficient(num_qubits, 3)
    routes = ROUTES if num_qubits >= 9 else ["samples"]
    cheapest = min(of(circuit, batch, route).seconds for route in routes)
    assert step_seconds(lower(circuit), batch, threads=1) == pytest.approx(cheapest)


def test_threads_share_units_or_chunks() -> None:
    """One tile of samples is not divided; eight tiles are, and so is one sample in passes."""
    small, wide = lower(hardware_efficient(8, 20)), lower(hardware_efficient(18, 2))
    for program, batch, parts in ((small, 16, 1), (small, 33, 3), (small, 128, 4), (wide, 1, 4)):
        alone, shared = (step_seconds(program, batch, threads) for threads in (1, 4))
        assert (alone - PER_STEP) / (shared - PER_STEP) == pytest.approx(parts)
    assert step_seconds(small, 0, threads=4) == PER_STEP
