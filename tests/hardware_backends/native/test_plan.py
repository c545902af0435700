"""Plans: forms of the angles, places of the basis states, masks of the strings, and the route."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import (
    AmplitudeInput,
    Observables,
    Program,
    Task,
    angle,
    hardware_efficient,
    lower,
    u3_cu3,
)
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.native.operations import ROUTES
from nisqkit.hardware_backends.native.plan import Forms, Plan, best_route, plan

EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)


def values(forms: Forms, parameters: Iterable[float]) -> list[float]:
    """The forms at some parameters, term by term."""
    p = list(parameters)
    return [
        forms.constant[k]
        + sum(
            forms.coefficient[t] * p[forms.column[t]]
            for t in range(forms.first[k], forms.first[k + 1])
        )
        for k in range(len(forms.constant))
    ]


AFFINE = angle(4).compose(u3_cu3(4, 2))


@pytest.mark.parametrize("circuit", [AFFINE, random_circuit(4, 60, seed=2)])
@pytest.mark.parametrize("inputs", ["x", None])
def test_forms_are_the_programs_angles(inputs: str | None, circuit: QuantumCircuit) -> None:
    """Of inputs and weights, or where those enter by products, of the angles themselves."""
    program = lower(circuit, inputs)
    made = plan(program, Observables.parse(None, 4), "samples")
    assert made.affine == (circuit is AFFINE)
    x = torch.linspace(-1, 2, len(program.inputs)).double()
    w = torch.linspace(0.3, 1.7, len(program.weights)).double()
    angles = program.angles(x[None], w)[0].numpy()
    shared, own = program.split_angles(x[None], w)
    parameters = torch.cat([x, w] if made.affine else [own[0], shared]).tolist()
    for groups, forms, per_lane in (
        (made.schedule.shared, made.shared_forms, 16),
        (made.schedule.own, made.own_forms, 1),
    ):
        slots = groups.slots[:, :per_lane].ravel()
        frequency = np.repeat(groups.frequency, per_lane)
        wanted = np.where(slots >= 0, angles[slots], 0.0)
        assert np.array_equal(forms[0].used, slots >= 0)
        assert_allclose(values(forms[0], parameters), frequency * wanted, atol=1e-14)
        assert_allclose(values(forms[1], parameters), wanted, atol=1e-14)


def with_amplitudes(of: str) -> Program:
    circuit, a, b = QuantumCircuit(9), ParameterVector("a", 3), ParameterVector("b", 2)
    circuit.append(AmplitudeInput([a[0], a[1], a[2]]), [8, 0])
    circuit.ry(b[0] * b[1], 3)
    return lower(circuit, of)


@EVERY_ROUTE
@pytest.mark.parametrize("of", ["a", "b"])
def test_amplitudes_are_found_among_the_angles(of: str, route: str) -> None:
    """Three amplitudes on qubits 8 and 0: basis states 0, 2**8 and 1."""
    program = with_amplitudes(of)
    made = plan(program, Observables.parse(None, 9), route)
    assert not made.affine
    states, columns, batched = made.prepared
    assert (states.tolist(), batched) == ([0, 2**8, 1], of == "a")
    prepare, angle_map = program.prepare, program.angle_map
    assert prepare is not None
    where = angle_map.batched_slots if batched else angle_map.shared_slots
    assert [where[c] for c in columns] == list(prepare.slots)


def test_affine_plans_prepare_nothing() -> None:
    made = plan(lower(hardware_efficient(3, 1)), Observables.parse(None, 3), "samples")
    states, columns, batched = made.prepared
    assert made.affine and not batched
    assert len(states) == len(columns) == len(made.places) == 0


def random_plan(observables: Observables, route: str) -> Plan:
    """CX gates and exchanges leave the qubits elsewhere."""
    return plan(lower(random_circuit(9, 60, seed=1)), observables, route)


@EVERY_ROUTE
def test_every_basis_state_has_its_place(route: str) -> None:
    made = random_plan(Observables.parse("probs", 9), route)
    assert sorted(made.places.tolist()) == list(range(2**9))
    for state, index in enumerate(made.places.tolist()):
        bits = [(index & w).bit_count() % 2 for _, w in made.operations.masks]
        assert sum(bit << q for q, bit in enumerate(bits)) == state
    assert made.strings.shape == (0, 4)


@EVERY_ROUTE
def test_strings_flip_and_sign_what_they_should(route: str) -> None:
    """By what a string does to each basis state, at its place in memory."""
    strings = ["XIZIYIIIX", "ZZIIIIIIZ", "IIIIYYYYI", "IIIIIIIZI"]
    made = random_plan(Observables.parse(strings, 9), route)
    places = random_plan(Observables.parse("probs", 9), route).places
    ordered = [strings[k] for k in (1, 3, 0, 2)]  # those without flips first
    assert_allclose(made.coefficients[:, :], np.eye(4)[:, [1, 3, 0, 2]])
    shift = 4 if route == "amplitudes" else 0
    for string, row, lane_signs in zip(ordered, made.strings, made.lane_signs, strict=True):
        row_flips, row_signs, lane_flips, ys = row.tolist()
        assert ys == string.count("Y") % 4
        letters = string[::-1]
        flipped = sum(1 << q for q in range(9) if letters[q] in "XY")
        for state in (0, 1, 77, 256, 511):
            here, there = int(places[state]), int(places[state ^ flipped])
            assert here ^ there == row_flips << shift | lane_flips
            minus = sum(state >> q & 1 for q in range(9) if letters[q] in "YZ")
            lane = here & 15 if shift else 0
            sign = (-1) ** ((here >> shift) & row_signs).bit_count() * lane_signs[lane]
            assert sign == (-1) ** minus


def test_plans_are_kept() -> None:
    program, observables = lower(hardware_efficient(9, 1)), Observables.parse(None, 9)
    assert plan(program, observables, "samples") is plan(program, observables, "samples")
    assert plan(program, observables, "amplitudes").operations.route == "amplitudes"


def circuits(num_qubits: int) -> list[Program]:
    return [lower(on(num_qubits, 3)) for on in (hardware_efficient, u3_cu3)]


@pytest.mark.parametrize("itemsize", [4, 8])
def test_route(itemsize: int) -> None:
    """Sixteen samples fill the lanes; few samples of many qubits do not."""
    for num_qubits in (1, 4, 8):
        for program in circuits(num_qubits):
            assert "amplitudes" not in {best_route(program, b, itemsize) for b in (0, 1, 3, 999)}
    for program in circuits(10):
        assert {best_route(program, b, itemsize) for b in (16, 64, 1024)} == {"samples"}
    for num_qubits in (12, 13, 15, 18):
        for program in circuits(num_qubits):
            assert best_route(program, 1, itemsize) == "amplitudes"


@pytest.mark.parametrize("batch", [1, 5, 16, 64])
@pytest.mark.parametrize("num_qubits", [8, 10, 13])
def test_threads_do_not_change_the_route(num_qubits: int, batch: int) -> None:
    """Otherwise they would change the results' last bits."""
    program = lower(angle(num_qubits).compose(hardware_efficient(num_qubits, 2)), "x")
    observables = Observables.parse(None, num_qubits)
    task = Task(program, torch.zeros(batch, num_qubits), torch.zeros(4 * num_qubits), observables)
    texts = {NativeBackend(threads=threads).explain(task) for threads in (None, 1, 2, 3, 64)}
    assert len(texts) == 1
    assert f"route           {best_route(program, batch, 4)}: " in texts.pop()
