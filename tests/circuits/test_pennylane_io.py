"""PennyLane functions as programs: values and gradients are those of PennyLane's default.qubit."""

import copy
import pickle
from typing import Any

import numpy as np
import pennylane as qp
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor

from nisqkit.circuits import Observables, Program, Task, lower
from nisqkit.circuits.pennylane_io import (
    from_pennylane,
    observables_of,
    read_qnode,
    tape_weights,
    to_pennylane,
)
from nisqkit.circuits.to_qiskit import circuit_of
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.reference import ReferenceBackend, final_state

DEVICE = qp.device("default.qubit")


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1).requires_grad_()


def assert_same(
    program: Program, observables: Observables | None, expected: Tensor, x: Tensor, w: Tensor
) -> None:
    """Values, and gradients to inputs and weights, are those of ``expected``."""
    observables = observables or Observables.parse(None, program.num_qubits)
    found = ReferenceBackend().run([Task(program, x, w, observables)])[0].values
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    mix = torch.linspace(0.5, 1.5, found.numel(), dtype=found.dtype).reshape(found.shape)
    for p in (x, w):
        if p.requires_grad and p.numel():
            slopes = [
                torch.autograd.grad((mix * v).sum(), p, retain_graph=True)[0]
                for v in (found, expected)
            ]
            torch.testing.assert_close(*slopes, rtol=0, atol=1e-9)


def everything(inputs: Tensor, weights: Tensor, scale: Tensor) -> Any:
    """Embeddings, templates, functions of parameters, controlled and adjoint gates."""
    qp.AngleEmbedding(inputs, wires=range(3), rotation="Y")
    qp.StronglyEntanglingLayers(weights, wires=range(3))
    qp.ctrl(qp.U3(torch.sin(inputs[0]), 2 * weights[0, 0, 0] + 1, inputs[1] * scale, wires=0), 1)
    qp.adjoint(qp.CRot)(inputs[0] / 3, -0.3 * inputs[1], torch.pi * scale, wires=[0, 2])
    qp.ctrl(qp.IsingXX(inputs[0] ** 2, [0, 1]), 2)
    qp.ctrl(qp.RX(inputs[0], 0), [1, 2])
    qp.evolve(qp.X(0) @ qp.Z(2), inputs[1])
    qp.Barrier()
    angles = torch.zeros(2, dtype=torch.float64)
    angles[0], angles[1] = torch.exp(scale), inputs[2]
    for k in range(2):
        qp.PhaseShift(angles[k], wires=k)
        qp.Hadamard(k)
    return (
        qp.expval(qp.X(0) @ qp.Y(1)),
        qp.expval(0.3 * qp.Z(2) - 2 * qp.X(0)),
        qp.expval(qp.Hermitian(np.array([[1, 2j], [-2j, 0.5]]), wires=1)),
        qp.expval(qp.I(0)),
    )


SHAPES = {"weights": (2, 3, 3), "scale": ()}


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: qp.QNode(f, DEVICE, interface="torch")])
def test_a_function_gives_pennylanes_values_and_gradients(wrap: Any, batch: int) -> None:
    program, observables = read_qnode(wrap(everything), num_inputs=3, weight_shapes=SHAPES)
    assert program.inputs == ("inputs[0]", "inputs[1]", "inputs[2]")
    assert program.weights[:2] == ("scale", "weights[0]")
    assert program.weights[-1] == "weights[17]"
    x, w = random(batch, 3, seed=batch), random(19, seed=7)
    qnode = qp.QNode(everything, DEVICE, interface="torch")
    expected = torch.stack(
        [torch.stack(list(qnode(row, w[1:].reshape(2, 3, 3), w[0]))) for row in x]
    )
    assert_same(program, observables, expected, x, w)


def test_only_what_is_not_affine_needs_a_function() -> None:
    program = from_pennylane(everything, num_inputs=3, weight_shapes=SHAPES)
    nonlinear = program.angle_map.nonlinear
    assert nonlinear is not None
    # sin, two of a product, one square, exp with its neighbour in the same vector
    assert len(nonlinear.slots) < 8 < len(program.angle_map.terms)
    for again in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert again == program
        assert hash(again) == hash(program)
        x, w = random(2, 3, seed=1), random(19, seed=2)
        torch.testing.assert_close(again.angles(x, w), program.angles(x, w))


def test_affine_angles_have_exact_coefficients() -> None:
    def function(inputs: Tensor) -> None:
        qp.RX(2 * inputs[1] - inputs[0] + 0.5, wires=0)
        qp.Rot(inputs[0], -inputs[1], 0.25, wires=1)

    program = from_pennylane(function, num_inputs=2)
    assert program.angle_map.terms == ((0, 0, -1.0), (0, 1, 2.0), (1, 0, 1.0), (2, 1, -1.0))
    assert program.angle_map.constants == (0.5, 0.0, 0.0, 0.25)
    assert program.angle_map.nonlinear is None
    assert [(g.name, g.group) for g in program.gates] == [
        ("rx", 0),
        ("rz", 1),
        ("ry", 1),
        ("rz", 1),
    ]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_circuit_to_qnode_to_circuit_to_qnode(seed: int, batch: int) -> None:
    """Names, roles, values and gradients survive both ways, twice."""
    circuit = random_circuit(3, num_gates=20, seed=seed)
    measured = ["XYZ", "IZI", "ZIX"]
    program = lower(circuit, inputs="x")
    names = (program.inputs, program.weights)
    x, w = random(batch, 3, seed=seed), random(len(program.weights), seed=seed + 10)
    start = qp.QNode(to_pennylane(circuit, "x", observables=measured), DEVICE, interface="torch")
    expected = torch.stack(list(start(x, w)), dim=1)
    assert_same(program, Observables.parse(measured, 3), expected, x, w)
    again, observables = read_qnode(start)
    assert (again.inputs, again.weights) == names
    assert observables == Observables.parse(measured, 3)
    assert_same(again, observables, expected, x, w)
    affine = QuantumCircuit(3)
    affine.compose(circuit_of(lower(_affine_part(circuit), inputs="x")), inplace=True)
    end = qp.QNode(to_pennylane(affine, "x", observables=measured), DEVICE, interface="torch")
    third, _ = read_qnode(end)
    returned = circuit_of(third)
    assert {p.name for p in returned.parameters} == {p.name for p in affine.parameters}
    twin = lower(returned, inputs="x")
    assert (twin.inputs, twin.weights) == (third.inputs, third.weights)
    used = random(len(twin.weights), seed=3)
    values = torch.stack(list(end(x, used)), dim=1)
    assert_same(twin, Observables.parse(measured, 3), values, x, used)


def _affine_part(circuit: QuantumCircuit) -> QuantumCircuit:
    """The gates with affine angles: torch functions cannot return to a circuit."""
    result = circuit.copy_empty_like()
    for instruction in circuit.data:
        one = circuit.copy_empty_like()
        one.append(instruction)
        if lower(one, inputs=None).angle_map.nonlinear is None:
            result.append(instruction)
    return result


@pytest.mark.parametrize("options", [{"pad_with": 0.0}, {"normalize": True}])
def test_amplitude_embedding_is_the_initial_state(options: dict[str, Any]) -> None:
    size = 3 if options.get("pad_with") is not None else 4

    def function(inputs: Tensor, w: Tensor) -> Any:
        qp.RX(w[0], wires=1)
        qp.AmplitudeEmbedding(inputs, wires=[2, 0], **options)
        qp.CRY(w[0], wires=[0, 1])
        return [qp.expval(qp.Z(0) @ qp.X(1)), qp.expval(qp.X(2)), qp.expval(qp.Z(2))]

    program, observables = read_qnode(function, num_inputs=size, weight_shapes={"w": 1})
    assert program.prepare is not None
    assert program.prepare.qubits == (0, 2)
    assert program.angle_map.nonlinear is None  # normalised by the program, not by a function
    x, w = random(5, size, seed=3), random(1, seed=4)
    qnode = qp.QNode(
        lambda inputs, w: (
            qp.AmplitudeEmbedding(inputs, wires=[2, 0], **options),
            qp.RX(w[0], wires=1),
            qp.CRY(w[0], wires=[0, 1]),
            [qp.expval(qp.Z(0) @ qp.X(1)), qp.expval(qp.X(2)), qp.expval(qp.Z(2))],
        )[-1],
        DEVICE,
        interface="torch",
    )
    assert_same(program, observables, torch.stack([torch.stack(qnode(r, w)) for r in x]), x, w)


def test_tapes_have_weights_only() -> None:
    operations = [
        qp.RX(torch.tensor(0.1), wires=0),
        qp.QubitUnitary(np.diag([1, 1j]), wires=0),
        qp.StronglyEntanglingLayers(0.1 * torch.arange(6.0).reshape(1, 2, 3), wires=range(2)),
        qp.CRY(0.7, wires=[1, 0]),
    ]
    tape = qp.tape.QuantumScript(operations, [qp.expval(qp.Z(0)), qp.expval(qp.X(1))])
    program, observables = read_qnode(tape)
    assert program.inputs == ()
    assert program.weights == tuple(f"weights[{i}]" for i in range(8))
    weights = tape_weights(tape)
    torch.testing.assert_close(
        weights, torch.tensor([0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7]).double()
    )
    expected = torch.tensor([qp.execute([tape], DEVICE)[0]]).double()
    assert observables is not None
    x = torch.zeros(1, 0, dtype=torch.float64)
    found = ReferenceBackend().run([Task(program, x, weights, observables)])[0].values
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    tape.trainable_params = [0, 3]
    assert tape_weights(tape).tolist() == pytest.approx([0.1, 0.7])
    assert from_pennylane(tape).weights == ("weights[0]", "weights[1]")


def test_transforms_of_a_qnode_are_applied() -> None:
    @qp.transforms.merge_rotations
    @qp.qnode(DEVICE, interface="torch")
    def qnode(w: Tensor) -> Any:
        qp.RX(w[0], wires=0)
        qp.RX(w[1], wires=0)
        return qp.expval(qp.Z(0))

    program = from_pennylane(qnode, weight_shapes={"w": 2})
    assert [g.name for g in program.gates] == ["rx"]
    assert program.angle_map.terms == ((0, 0, 1.0), (0, 1, 1.0))


def test_wires() -> None:
    def function() -> None:
        qp.CNOT(wires=["b", "a"])

    assert from_pennylane(function, wires=["a", "b", "c"]).gates[0].qubits == (1, 0)
    assert from_pennylane(lambda: qp.X(2)).num_qubits == 3
    assert from_pennylane(lambda: qp.X(2), num_qubits=5).num_qubits == 5
    device = qp.device("default.qubit", wires=["a", "b"])
    assert from_pennylane(qp.QNode(function, device)).gates[0].qubits == (1, 0)


def test_arguments_with_defaults_stay_as_they_are() -> None:
    def function(inputs: Tensor, depth: int = 2) -> None:
        for _ in range(depth):
            qp.RX(inputs[0], wires=0)

    assert len(from_pennylane(function, num_inputs=1).gates) == 2
    renamed = from_pennylane(lambda x: qp.RX(x[0], 0), num_inputs=1, inputs_argument="x")
    assert renamed.inputs == ("x[0]",)


def test_measurements() -> None:
    probs = qp.tape.QuantumScript([qp.X(0), qp.X(1)], [qp.probs(wires=[0, 1])])
    assert observables_of(probs) == Observables.parse("probs", 2)
    assert observables_of(qp.tape.QuantumScript([qp.X(0)])) is None
    projector = qp.tape.QuantumScript([qp.X(1)], [qp.expval(qp.Projector([1], wires=0))])
    assert observables_of(projector, [0, 1]) == Observables(2, ((("II", 0.5), ("IZ", -0.5)),))


@pytest.mark.parametrize(
    "measurement",
    [
        qp.var(qp.Z(0)),
        qp.state(),
        qp.probs(wires=[1]),
        qp.sample(wires=[0]),
        qp.probs(op=qp.X(0)),
    ],
    ids=str,
)
def test_other_measurements_are_refused(measurement: Any) -> None:
    tape = qp.tape.QuantumScript([qp.X(0), qp.X(1)], [measurement])
    with pytest.raises(ValueError, match=r"a layer cannot measure .*: return qp.expval"):
        observables_of(tape)


def branch(inputs: Tensor) -> None:
    if inputs[0] > 0.5:
        qp.RX(inputs[0], wires=0)
    qp.RY(inputs[0], wires=0)


def branch_beyond_the_points(inputs: Tensor) -> None:
    (qp.RX if inputs[0] > 5 else qp.RY)(inputs[0], wires=0)


def leaves_torch(inputs: Tensor) -> None:
    qp.RX(float(np.sin(inputs.detach().numpy()[0])), wires=0)


def detached_numpy(inputs: Tensor) -> None:
    qp.RX(torch.as_tensor(np.cos(inputs.detach().numpy())[0]), wires=0)


def drawn(inputs: Tensor) -> None:
    qp.RX(inputs[0] + torch.rand(()), wires=0)


def parameters_in_a_matrix(inputs: Tensor) -> None:
    qp.QubitUnitary(qp.RX.compute_matrix(inputs[0]), wires=0)


def observable_with_a_parameter(inputs: Tensor) -> Any:
    qp.RX(inputs[0], wires=0)
    return qp.expval(inputs[0] * qp.Z(0))


def never_finite(inputs: Tensor) -> None:
    qp.RX(torch.log(-inputs[0]), wires=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (branch, "structure depends on the values of the parameters"),
        (branch_beyond_the_points, "structure depends on the values of the parameters"),
        (leaves_torch, "angle of gate 'rx' on qubits .0,. leaves torch"),
        (detached_numpy, "angle of gate 'rx' on qubits .0,. leaves torch"),
        (drawn, "angle of gate 'rx' on qubits .0,. leaves torch"),
        (parameters_in_a_matrix, "structure depends on the values of the parameters"),
        (observable_with_a_parameter, "structure depends on the values of the parameters"),
        (never_finite, "is not finite"),
    ],
)
def test_what_is_no_fixed_structure_is_refused(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_qnode(function, num_inputs=1)


def complex_state(inputs: Tensor) -> None:
    qp.StatePrep(torch.tensor([0.6, 0.8j]), wires=0)


def late_state(inputs: Tensor) -> None:
    qp.X(0)
    qp.StatePrep(torch.tensor([0.6, 0.8]), wires=0)


def mixed_state(inputs: Tensor) -> None:
    qp.AmplitudeEmbedding(inputs[:3], wires=[0, 1], pad_with=0.5)


def noise(inputs: Tensor) -> None:
    qp.BitFlip(0.1, wires=0)


def middle(inputs: Tensor) -> None:
    qp.cond(qp.measure(0), qp.X)(1)


def columns(inputs: Tensor) -> None:
    qp.RX(inputs[:, 0], wires=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (complex_state, "StatePrep has complex amplitudes"),
        (late_state, "StatePrep prepares the initial state: it must come once"),
        (mixed_state, "not a mixture with constants"),
        (noise, "is a noise channel"),
        (middle, "measures only at its end"),
        (columns, r"failed on one sample \(shapes: inputs \(3,\)\)"),
        (lambda inputs: qp.RX(inputs, wires=0), "got a vector of 3 angles"),
        (lambda inputs: qp.RX(inputs[0], wires="a"), "are not numbers: give wires="),
    ],
)
def test_unsupported_operations_are_refused(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_pennylane(function, num_inputs=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_shapes": SHAPES}, "has an argument 'inputs': give num_inputs"),
        ({"num_inputs": 3}, "no shape for argument '(weights|scale)'"),
        (
            {"num_inputs": 3, "weight_shapes": {**SHAPES, "weigths": 2}},
            "unknown argument 'weigths'; did you mean 'weights'",
        ),
        ({"num_inputs": 3, "weight_shapes": SHAPES, "num_qubits": 2}, "wire 2 is not among"),
        (
            {"num_inputs": 3, "weight_shapes": SHAPES, "num_qubits": 2, "wires": [0, 1, 2]},
            "num_qubits=2 does not fit the 3 wires",
        ),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_pennylane(everything, **options)


def test_wrong_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="takes a QNode, quantum function or tape, not int"):
        from_pennylane(3)
    with pytest.raises(ValueError, match="a tape has no arguments"):
        from_pennylane(qp.tape.QuantumScript([]), num_inputs=2)
    circuit = random_circuit(2, num_gates=3, seed=0)
    with pytest.raises(ValueError, match="num_inputs=2, but the function has 3 inputs"):
        from_pennylane(to_pennylane(circuit, "x"), num_inputs=2)


@pytest.mark.parametrize("measured", [[0, 1, 2], [2, 0, 1], [2, 1, 0], None])
@pytest.mark.parametrize("device_wires", [3, [1, 2, 0], None])
def test_a_qnode_keeps_the_columns_of_its_probabilities(
    measured: list[int] | None, device_wires: Any
) -> None:
    @qp.qnode(qp.device("default.qubit", wires=device_wires))
    def qnode(inputs: Tensor) -> Any:
        qp.RY(inputs[0], wires=1)
        qp.RY(inputs[1], wires=0)
        qp.RY(inputs[2], wires=2)
        qp.CNOT([0, 2])
        return qp.probs(wires=measured) if measured else qp.probs()

    x = torch.tensor([0.3, 1.1, 2.0], dtype=torch.float64)
    program, observables = read_qnode(qnode, num_inputs=3)
    assert observables == Observables.parse("probs", 3)
    state = final_state(program, program.angles(x[None], x[:0])).flatten()
    assert torch.allclose(state.abs() ** 2, qnode(x), atol=1e-12)
