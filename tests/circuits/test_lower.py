"""Lowering: values of every angle, order of parameters, decomposition, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
import torch
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Gate, Parameter, ParameterExpression, ParameterVector
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate, XGate
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector, random_unitary

from nisqkit.circuits import (
    AmplitudeInput,
    circuit_of,
    hardware_efficient,
    lower,
    zz_feature_map,
)
from nisqkit.circuits.lower import InputsLike
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.reference import final_state

a, b = Parameter("a"), Parameter("b")


def state_gap(circuit: QuantumCircuit, values: dict[str, float]) -> float:
    """One minus the fidelity between our state and Qiskit's of the bound original circuit."""
    program = lower(circuit)
    weights = torch.tensor([values[name] for name in program.weights], dtype=torch.float64)
    angles = program.angles(weights.new_zeros(1, 0), weights)
    ours = final_state(program, angles).flatten().numpy()
    bound = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
    return 1 - abs(np.vdot(ours, Statevector(bound).data)) ** 2


@pytest.mark.parametrize(
    "expression",
    [
        2 * a + 3 * b - 1,
        a * b,
        a**2 - b**2,
        a.sin() * b.cos(),
        (a + 1).exp() / (b * b + 2),
        (a * a + 1).log(),
        a.tan() + (b / 2).arcsin(),
        (b / 2).arccos() - a.arctan(),
        abs(a) * b.sign(),
        a - a + 0.25,
        (a * b + 2) ** 0.5,
    ],
    ids=str,
)
def test_expressions(expression: ParameterExpression) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(a, 0)
    circuit.ry(expression, 0)
    circuit.rz(b, 0)
    for va, vb in ((0.3, 0.7), (-1.1, 0.4), (0.9, -0.8)):
        program = lower(circuit, inputs=["a"])
        x, w = torch.tensor([[va]], dtype=torch.float64), torch.tensor([vb], dtype=torch.float64)
        bound = {p: {"a": va, "b": vb}[p.name] for p in expression.parameters}
        expected = float(expression.bind(bound).numeric())
        assert float(program.angles(x, w)[0, 1]) == pytest.approx(expected, abs=1e-12)


def test_affine_slots_are_a_matrix_and_others_a_function() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(2 * a - b / 4 + 1, 0)
    circuit.ry(a * b, 0)
    angle_map = lower(circuit, inputs=[a]).angle_map
    assert angle_map.terms == ((0, 0, 2.0), (0, 1, -0.25))
    assert angle_map.constants == (1.0, 0.0)
    assert angle_map.nonlinear is not None
    assert angle_map.nonlinear.slots == (1,)


def test_vector_elements_are_ordered_by_index() -> None:
    w, circuit = ParameterVector("w", 12), QuantumCircuit(1)
    for k in (11, 2, 10, 0, 1, 3, 4, 5, 6, 7, 8, 9):
        circuit.rx(w[k], 0)
    assert lower(circuit).weights == tuple(f"w[{k}]" for k in range(12))


def test_single_parameters_are_in_natural_order() -> None:
    circuit = QuantumCircuit(1)
    for name in ("w10", "w2", "w1"):
        circuit.rx(Parameter(name), 0)
    assert lower(circuit).weights == ("w1", "w2", "w10")


def test_inputs_keep_the_order_given() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(a, 0)
    circuit.rx(b, 0)
    assert lower(circuit, inputs=["b", a]).inputs == ("b", "a")


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")  # in Qiskit
def test_what_is_not_native_is_decomposed() -> None:
    inner = QuantumCircuit(2, name="mine")
    inner.rx(a, 0)
    inner.crz(a + b, 0, 1)
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.append(inner.to_gate(), [2, 0])
    circuit.append(inner.to_gate().control(1), [1, 3, 2])
    circuit.ccx(0, 1, 2)
    circuit.cswap(3, 1, 0)
    circuit.mcp(b, [0, 1, 2], 3)
    circuit.append(XGate().control(2, ctrl_state="01"), [3, 1, 0])
    circuit.append(UnitaryGate(random_unitary(8, seed=1)), [0, 3, 1])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["XYIZ", "ZZII"]), time=a), range(4))
    assert state_gap(circuit, {"a": 0.37, "b": -1.2}) < 1e-10


def test_a_users_gate_with_a_standard_name_keeps_its_own_definition() -> None:
    mine = Gate("rx", 1, [a])
    mine.definition = QuantumCircuit(1)
    mine.definition.ry(2 * a, 0)
    circuit = QuantumCircuit(1)
    circuit.append(mine, [0])
    assert [g.name for g in lower(circuit).gates] == ["ry"]


@pytest.mark.parametrize("seed", range(10))
def test_random_circuits_give_qiskits_state(seed: int) -> None:
    circuit = random_circuit(1 + seed % 4, 15, seed)
    rng = np.random.default_rng(seed)
    assert state_gap(circuit, {p.name: rng.uniform(-1, 1) for p in circuit.parameters}) < 1e-10


def test_final_measurements_and_final_barriers_are_dropped() -> None:
    circuit = hardware_efficient(2, 1)
    plain = lower(circuit)
    circuit.barrier()
    circuit.measure_all()
    assert [g.name for g in lower(circuit).gates] == [g.name for g in plain.gates]


def test_groups_and_tags_say_where_a_gate_came_from() -> None:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.append(UnitaryGate(random_unitary(8, seed=1), label="block"), [0, 1, 2])
    gates = lower(circuit).gates
    assert {g.group for g in gates[1:]} == {1}
    assert {g.tags for g in gates[1:]} == {("block",)}


def test_programs_are_hashable_values() -> None:
    one, two = (lower(zz_feature_map(3), "x") for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != lower(zz_feature_map(3, reps=1), "x")
    for twin in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert twin == one
        x = torch.rand(2, 3)
        torch.testing.assert_close(twin.angles(x, x[0, :0]), one.angles(x, x[0, :0]))


def test_amplitudes_reach_qiskits_state() -> None:
    circuit = QuantumCircuit(3)
    circuit.append(AmplitudeInput(list(ParameterVector("x", 4))), [2, 0])
    circuit.cry(0.3, 0, 1)
    x = torch.tensor([[0.5, -1.0, 0.2, 0.7]], dtype=torch.float64)
    ours = final_state(lower(circuit, "x"), lower(circuit, "x").angles(x, x[0, :0])).flatten()
    oracle = QuantumCircuit(3)
    oracle.initialize((x[0] / x[0].norm()).tolist(), [2, 0])
    oracle.cry(0.3, 0, 1)
    np.testing.assert_allclose(ours.numpy(), Statevector(oracle).data, atol=1e-12)


def test_global_phase_of_a_definition_matters_under_control() -> None:
    inner = QuantumCircuit(1, global_phase=0.7)
    inner.rx(a, 0)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.append(inner.to_gate().control(1), [0, 1])
    assert state_gap(circuit, {"a": 0.4}) < 1e-12
    assert Operator(circuit.assign_parameters({a: 0.4})).dim == (4, 4)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("y", "unknown parameter of the circuit in inputs=: 'y'. Known: a, w"),
        (["a", "a"], "inputs lists a more than once"),
        (["w", "w[1]"], r"inputs lists w\[1\] more than once"),
        (Parameter("a"), "another object of the same name 'a'"),
        (Parameter("b"), "unknown parameter of the circuit in inputs=: 'b'"),
        (ParameterVector("z", 2), "unknown parameter of the circuit in inputs=: 'z'"),
        (ParameterVector("w", 2), "another object of the same name 'w'.* or the string 'w'"),
        ([Parameter("w[1]")], r"another object of the same name 'w\[1\]'"),
    ],
)
def test_bad_inputs(inputs: InputsLike, message: str) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(a, 0)
    for p in ParameterVector("w", 2):
        circuit.rx(p, 0)
    with pytest.raises(ValueError, match=message):
        lower(circuit, inputs)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match=r"lower takes a qiskit\.QuantumCircuit, not str"):
        lower("circuit")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="inputs takes a ParameterVector, Parameters or their"):
        lower(QuantumCircuit(1), inputs=[3])  # type: ignore[list-item]


def measured_in_the_middle() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.h(0)
    return circuit


def with_reset() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.reset(0)
    return circuit


def with_control_flow() -> QuantumCircuit:
    qubits, bits = QuantumRegister(1), ClassicalRegister(1)
    circuit = QuantumCircuit(qubits, bits)
    with circuit.if_test((bits, 1)):
        circuit.x(0)
    return circuit


def with_delay() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.delay(100, 0)
    return circuit


def with_an_opaque_gate() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, []), [0])
    return circuit


def with_a_complex_angle() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(1j * a, 0)
    return circuit


def with_a_late_amplitude_input() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.append(AmplitudeInput([a, b]), [0])
    return circuit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (measured_in_the_middle, "acts on qubit 0 after its measurement"),
        (with_reset, "'reset' at instruction 0 cannot be differentiated"),
        (with_control_flow, "control flow at instruction 0 cannot be differentiated"),
        (with_delay, "'delay' at instruction 0 cannot be differentiated"),
        (with_an_opaque_gate, "gate 'mystery' at instruction 0 is opaque"),
        (with_a_complex_angle, "is not a finite real number"),
        (with_a_late_amplitude_input, "AmplitudeInput prepares the initial state"),
    ],
)
def test_circuits_that_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        lower(make())


def test_amplitudes_that_mix_inputs_and_weights_are_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(AmplitudeInput([a, b]), [0])
    with pytest.raises(ValueError, match="must all be inputs or all be weights"):
        lower(circuit, inputs=[a])


def test_a_sample_of_zeros_is_no_state() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(AmplitudeInput([a, b]), [0])
    program = lower(circuit, inputs=[a, b])
    with pytest.raises(ValueError, match="all amplitudes of sample 1 are zero"):
        program.angles(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(0))


def test_barriers_between_gates_are_kept_and_are_no_gates() -> None:
    inner = QuantumCircuit(1, name="inner")
    inner.x(0)
    inner.barrier()
    inner.x(0)
    circuit = QuantumCircuit(2)
    circuit.barrier()
    circuit.append(AmplitudeInput([0.6, 0.8]), [0])
    circuit.append(inner.to_instruction(), [1])
    circuit.barrier()
    circuit.cx(0, 1)
    program = lower(circuit)
    assert [(g.name, g.qubits) for g in program.gates] == [
        ("barrier", (0, 1)),
        ("x", (1,)),
        ("barrier", (1,)),
        ("x", (1,)),
        ("barrier", (0, 1)),
        ("cx", (0, 1)),
    ]
    assert repr(program) == (
        "Program(2 qubits, amplitudes on 1 qubits, 3 gates, 0 inputs, 0 weights)"
    )
    again = lower(circuit_of(program))
    assert [(g.name, g.qubits) for g in again.gates] == [(g.name, g.qubits) for g in program.gates]


def test_an_unused_element_of_a_vector_is_named() -> None:
    x = ParameterVector("x", 3)
    circuit = QuantumCircuit(1)
    circuit.rx(x[0] + x[2], 0)
    with pytest.raises(ValueError, match=r"'x\[1\]' is not used in the circuit.*its name 'x'"):
        lower(circuit, inputs=list(x))
    with pytest.raises(TypeError, match="inputs=3 says nothing about a Qiskit circuit"):
        lower(circuit, inputs=3)  # type: ignore[arg-type]


def test_initialize_points_to_amplitude() -> None:
    circuit = QuantumCircuit(1)
    circuit.initialize([0.6, 0.8], 0)
    with pytest.raises(ValueError, match=r"'reset' at .*use nisqkit\.circuits\.amplitude"):
        lower(circuit)
