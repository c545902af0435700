"""The cost model against counts by hand, and in proportion."""

from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import angle, encoder, hardware_efficient, lower, u3_cu3
from nisqkit.hardware_backends.native.cost import TYPICAL, Cost, cost
from nisqkit.hardware_backends.native.machine import this_machine
from nisqkit.hardware_backends.native.operations import operations
from nisqkit.hardware_backends.native.plan import best_route, predicted
from nisqkit.hardware_backends.native.schedule import schedule

BOTH_LANES = pytest.mark.parametrize("route", ["samples", "amplitudes"])


def of(circuit: QuantumCircuit, batch: int, route: str = "samples", **options: Any) -> Cost:
    blocks = schedule(lower(circuit, [p for p in circuit.parameters if p.name.startswith("x")]))
    return cost(blocks, operations(blocks, route), batch, **options)


def test_counts_by_hand() -> None:
    """Per amplitude and step 32 multiply-adds for a 2x2 matrix, 64 for a 4x4, none for CX, CZ."""
    w, circuit = ParameterVector("w", 6), QuantumCircuit(3)
    circuit.cz(0, 1)
    circuit.cz(1, 2)  # so that no matrix makes a product state
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


def test_a_product_state_takes_two_matrices() -> None:
    """The k-th matrix meets ``2**(k + 1)`` of the rows; all together about twice all rows."""
    for num_qubits in (1, 4, 10):
        found = of(angle(num_qubits), 16)
        assert found.multiply_adds == 32 * 16 * 2 * (2**num_qubits - 1)


def test_a_shared_unitary_by_hand() -> None:
    """Its 16 columns once, and then 12 multiply-adds per amplitude and row for each sample."""
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, 3))
    head = of(encoder("4x4_ryzxy"), 160).multiply_adds
    gates = of(u3_cu3(4, 3), 16).multiply_adds
    found = of(circuit, 160, "unitary").multiply_adds
    assert found == head + gates + 12 * 16 * (160 * 16)


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


@BOTH_LANES
@pytest.mark.parametrize("itemsize", [4, 8])
def test_memory_does_not_grow_with_depth(route: str, itemsize: int) -> None:
    circuits = [hardware_efficient(10, layers) for layers in (1, 10, 60)]
    costs = [of(circuit, 16, route, itemsize=itemsize) for circuit in circuits]
    assert {c.state_bytes for c in costs} == {2 * 16 * 2**10 * itemsize}
    one, ten, sixty = (c.multiply_adds for c in costs)
    assert sixty - ten == pytest.approx(50 * (ten - one) / 9)
    assert costs[0].seconds < costs[1].seconds < costs[2].seconds


@BOTH_LANES
def test_double_precision_halves_the_rate(route: str) -> None:
    """Of arithmetic, not of what Python and each operation take."""
    circuit = u3_cu3(11, 20)
    single, double = (of(circuit, 1, route, itemsize=size).seconds for size in (4, 8))
    assert 1.5 < (double - TYPICAL.step) / (single - TYPICAL.step) < 2
    single, double = (of(circuit, 1, route, itemsize=size).multiply_adds for size in (4, 8))
    assert single == double


def test_passes_cost_less_than_leaving_the_cache() -> None:
    """Seconds per multiply-add: chunks of 18 qubits fit, the whole state of 17 does not."""
    rates = []
    for num_qubits in (14, 17, 18):
        found = of(hardware_efficient(num_qubits, 20), 1, "amplitudes")
        rates.append((found.seconds - TYPICAL.step) / found.multiply_adds)
    assert rates[0] < rates[2] < rates[1]


@BOTH_LANES
def test_nothing_takes_python_alone(route: str) -> None:
    empty = of(QuantumCircuit(9), 64, route)
    assert (empty.multiply_adds, empty.seconds) == (0, TYPICAL.step)


@pytest.mark.parametrize(
    ("num_qubits", "batch", "route"),
    [(4, 1, "samples"), (4, 640, "unitary"), (8, 64, "samples"), (18, 1, "amplitudes")],
)
def test_the_cheapest_route_is_taken(num_qubits: int, batch: int, route: str) -> None:
    """What it is shows where one route is far better; elsewhere that no other is cheaper."""
    program = lower(angle(num_qubits).compose(hardware_efficient(num_qubits, 6)), "x")
    assert best_route(program, batch, 4) == route
    blocks = schedule(program)
    others = ["samples", "unitary"] if num_qubits < 9 else ["samples", "amplitudes"]
    cheapest = min(cost(blocks, operations(blocks, other), batch).seconds for other in others)
    assert predicted(program, batch).seconds == cheapest


def test_threads_share_units_or_chunks() -> None:
    """One tile of samples is not divided; eight tiles are, and so is one sample in passes."""
    small, wide = hardware_efficient(8, 20), hardware_efficient(18, 2)
    for circuit, batch, route, parts in (
        (small, 16, "samples", 1),
        (small, 33, "samples", 3),
        (small, 128, "samples", 4),
        (wide, 1, "amplitudes", 4),
    ):
        nothing = of(circuit, 0, route).seconds  # the shared matrices are built by one thread
        alone, shared = (of(circuit, batch, route, threads=k).seconds - nothing for k in (1, 4))
        assert alone / shared == pytest.approx(parts)


def test_a_slower_machine_takes_longer_but_for_its_step() -> None:
    program = lower(angle(10).compose(hardware_efficient(10, 6)), "x")
    slow = TYPICAL.scaled(3.0, TYPICAL.step)
    found, expected = (predicted(program, 64, machine=m).seconds for m in (slow, TYPICAL))
    assert found - TYPICAL.step == pytest.approx(3 * (expected - TYPICAL.step))


def test_the_present_machine_is_measured_once() -> None:
    found = this_machine()
    assert found is this_machine()
    assert 0 < found.step < 1
    assert found.far_rate / found.rate == pytest.approx(TYPICAL.far_rate / TYPICAL.rate)
