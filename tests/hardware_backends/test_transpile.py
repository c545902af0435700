"""Transpiled programs do what the logical ones do, on the qubits that they were given."""

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit.quantum_info import SparsePauliOp, Statevector

from nisqkit.circuits import Observables, Program, Task, amplitude, encoder, lower, u3_cu3
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.reference import ReferenceBackend
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise import Device, coverage

SANTIAGO = Device.load("fake_santiago")  # a line of five qubits
STRINGS = ["IZX", "ZYI", "XIZ", "YXY", "IIZ"]


def program(seed: int = 0, num_qubits: int = 3) -> Program:
    return lower(random_circuit(num_qubits, 12, seed), inputs="x").by_slots


def marked(device: Device, error: float, gate: str, *qubits: int) -> Device:
    """The device with another error of one gate, in both directions."""
    gates = (
        g._replace(error=error) if g.gate == gate and set(g.qubits) == set(qubits) else g
        for g in device.gates
    )
    return replace(device, gates=tuple(gates))


def expectations(found: Transpiled, values: np.ndarray) -> list[float]:
    bound = {
        p: v for p, v in zip(found.slots, values, strict=True) if p in found.circuit.parameters
    }
    state = Statevector(found.circuit.assign_parameters(bound))
    operators = [
        SparsePauliOp(s).apply_layout(list(found.layout), found.circuit.num_qubits) for s in STRINGS
    ]
    return [state.expectation_value(op).real for op in operators]


def logical(of: Program, values: np.ndarray) -> list[float]:
    inputs = torch.tensor(values)[None]
    task = Task(of, inputs, inputs.new_zeros(0), Observables.parse(STRINGS, 3))
    return ReferenceBackend().run([task])[0].values[0].tolist()


@pytest.mark.parametrize("layout", [None, [0, 1, 2], [4, 0, 2], [1, 3, 2]])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_observables_follow_the_layout(layout: list[int] | None, level: int) -> None:
    logical_program = program(seed=level)
    found = transpile_to(logical_program, SANTIAGO, layout=layout, optimization_level=level)
    if layout is not None:
        assert found.initial_layout == tuple(layout)
    values = np.random.default_rng(level).uniform(-3, 3, len(found.slots))
    assert expectations(found, values) == pytest.approx(logical(logical_program, values), abs=1e-10)
    coverage(found.circuit, SANTIAGO).check()


def test_the_reduced_native_program_is_the_same_circuit() -> None:
    logical_program = program(seed=7)
    found = transpile_to(logical_program, Device.load("fake_montreal"), layout=[12, 13, 18])
    assert found.circuit.num_qubits == 27
    assert set(found.active) >= {12, 13, 18}
    assert found.reduced.num_qubits == found.reduced_device.num_qubits == len(found.active) < 6
    assert [found.active[q] for q in found.measured] == list(found.layout)
    coverage(found.reduced, found.reduced_device).check()
    assert found.native.num_qubits == len(found.active)
    assert found.native.angle_map.nonlinear is None
    values = np.random.default_rng(0).uniform(-3, 3, len(found.slots))
    inputs = torch.tensor(values)[None]
    wide = ["I" * len(found.active)] * len(STRINGS)
    for k, string in enumerate(STRINGS):
        letters = list(wide[k])
        for q, letter in enumerate(reversed(string)):
            letters[-1 - found.measured[q]] = letter
        wide[k] = "".join(letters)
    observables = Observables.parse(wide, len(found.active))
    task = Task(found.native, inputs, inputs.new_zeros(0), observables)
    values_native = ReferenceBackend().run([task])[0].values[0].tolist()
    assert values_native == pytest.approx(logical(logical_program, values), abs=1e-10)


def test_eight_blocks_take_less_than_a_second() -> None:
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=8))
    start = time.perf_counter()
    found = transpile_to(lower(circuit, inputs="x"), SANTIAGO, seed=11)
    assert time.perf_counter() - start < 2
    assert len(found.slots) == 208
    assert set(found.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("fake_essex", {"u1", "u2", "u3", "cx"}),
        ("fake_brisbane", {"rz", "sx", "x", "ecr"}),
        ("fake_fez", {"rz", "sx", "x", "cz"}),
    ],
)
def test_other_gate_sets(name: str, gates: set[str]) -> None:
    circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=4))
    start = time.perf_counter()
    found = transpile_to(lower(circuit, inputs="x"), Device.load(name))
    assert time.perf_counter() - start < 4
    assert set(found.circuit.count_ops()) <= gates
    coverage(found.circuit, found.device).check()


def test_programs_of_one_structure_share_the_result() -> None:
    a = lower(u3_cu3(3, blocks=1, name="a"))
    b = lower(u3_cu3(3, blocks=1, name="b"), inputs="b")
    assert transpile_to(a, SANTIAGO) is transpile_to(b, SANTIAGO)
    assert transpile_to(a, SANTIAGO) is not transpile_to(a, SANTIAGO, layout=[0, 1, 2])
    assert transpile_to(a, SANTIAGO) is not transpile_to(a, Device.load("fake_manila"))


def test_amplitude_input_is_synthesised() -> None:
    found = transpile_to(lower(amplitude(5).compose(u3_cu3(3, blocks=1)), inputs="x"), SANTIAGO)
    assert set(found.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}
    assert len(found.slots) == 5 + 18 + 7


def test_a_circuit_without_parameters() -> None:
    circuit = u3_cu3(2, blocks=1)
    fixed = lower(circuit.assign_parameters(np.arange(9) / 7))
    found = transpile_to(fixed, SANTIAGO)
    assert found.native.num_qubits == 2
    empty = lower(u3_cu3(2, blocks=1)).by_slots
    nothing = transpile_to(replace(empty, gates=()), SANTIAGO)
    assert len(nothing.native.inputs) == len(nothing.slots) == 9


def test_a_changed_circuit_is_noticed() -> None:
    found = transpile_to(program(seed=2), SANTIAGO, layout=[0, 1, 2])
    found.check_equivalence()
    swapped = replace(found, layout=(found.layout[1], found.layout[0], found.layout[2]))
    with pytest.raises(RuntimeError, match="has changed the circuit: the fidelity of the final"):
        swapped.check_equivalence()


def test_pickling() -> None:
    found = pickle.loads(pickle.dumps(transpile_to(program(seed=3), SANTIAGO)))
    found.check_equivalence()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": [0, 1]}, r"layout \[0, 1\] has 2 entries and the circuit 3 qubits"),
        ({"layout": [0, 1, 5]}, r"5 is not on fake_santiago; give one distinct qubit between 0"),
        ({"layout": [0, 1, 0]}, "lists qubit 0 twice"),
        ({"optimization_level": 4}, "optimization_level is 4: give 0, 1, 2 or 3"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transpile_to(program(), SANTIAGO, **options)


def test_too_many_qubits() -> None:
    with pytest.raises(ValueError, match="circuit has 6 qubits and fake_santiago has 5"):
        transpile_to(lower(u3_cu3(6, blocks=1)), SANTIAGO)


def test_dead_edges_are_avoided_or_refused() -> None:
    broken = marked(SANTIAGO, 1.0, "cx", 1, 2)
    chain = lower(u3_cu3(3, blocks=1))
    assert set(transpile_to(chain, broken).layout) == {2, 3, 4}
    with pytest.raises(ValueError, match=r"fake_santiago with layout \[0, 1, 2\]; edges .*dead"):
        transpile_to(chain, broken, layout=[0, 1, 2])
    with pytest.raises(ValueError, match="cannot be transpiled for fake_santiago; edges"):
        transpile_to(lower(u3_cu3(4, blocks=1)), broken)


def test_dead_qubits_are_refused() -> None:
    broken = marked(SANTIAGO, 1.0, "sx", 3)
    with pytest.raises(ValueError, match=r"needs sx on \(3,\) of fake_santiago, which is dead"):
        transpile_to(lower(u3_cu3(2, blocks=1)), broken, layout=[3, 4])
