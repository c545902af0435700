"""What may be given as a circuit: OpenQASM, PennyLane, programs, and what is refused."""

import numpy as np
import pytest
import torch

from nisqkit.circuits import angle, lower
from nisqkit.qml import QuantumLayer


def test_openqasm_is_a_circuit() -> None:
    text = """OPENQASM 3.0;
    include "stdgates.inc";
    input float[64] a;
    input float[64] b;
    qubit[2] q;
    ry(a) q[0];
    cx q[0], q[1];
    rx(2*b) q[1];
    """
    layer = QuantumLayer(text, inputs=["a"], seed=0).double()
    assert layer.program.weights == ("b",)
    y = layer(torch.tensor([[0.4]], dtype=torch.float64))
    expected = [np.cos(0.4), np.cos(0.4) * np.cos(2 * float(layer.weights.detach()[0]))]
    np.testing.assert_allclose(y.detach().numpy()[0], expected, atol=1e-12)


def test_a_pennylane_qnode_is_a_circuit() -> None:
    qp = pytest.importorskip("pennylane")

    @qp.qnode(qp.device("default.qubit", wires=2))
    def node(inputs: torch.Tensor, weights: torch.Tensor) -> object:
        qp.AngleEmbedding(torch.sin(inputs), wires=[0, 1])
        qp.StronglyEntanglingLayers(weights, wires=[0, 1])
        return qp.expval(qp.Z(0) @ qp.X(1)), qp.expval(qp.Y(1))

    layer = QuantumLayer(
        node, inputs=2, weight_shapes={"weights": (2, 2, 3)}, init="uniform", seed=3
    )
    layer = layer.double()
    x = torch.rand(3, 2, dtype=torch.float64)
    expected = torch.stack([torch.stack(node(row, layer.weights.reshape(2, 2, 3))) for row in x])
    torch.testing.assert_close(layer(x), expected)


def test_circuits_of_the_wrong_kind() -> None:
    with pytest.raises(TypeError, match="circuit must be a qiskit"):
        QuantumLayer(3)
    with pytest.raises(ValueError, match="a Program already says which parameters are inputs"):
        QuantumLayer(lower(angle(1), "x"), inputs="x")
    with pytest.raises(
        TypeError, match="for a PennyLane function, inputs is the number of features"
    ):
        QuantumLayer(lambda inputs: None, inputs="x")


def test_options_of_another_front_end_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_shapes is for PennyLane functions"):
        QuantumLayer(angle(1), "x", weight_shapes={"w": (3,)})
    with pytest.raises(TypeError, match="inputs=3 says nothing about a Qiskit circuit"):
        QuantumLayer(angle(1), inputs=3)
    qp = pytest.importorskip("pennylane")

    def function(inputs: torch.Tensor) -> object:
        qp.RX(inputs[0], wires=0)
        return qp.expval(qp.Z(0))

    qnode = qp.QNode(function, qp.device("default.qubit", wires=1))
    with pytest.raises(ValueError, match=r"pass shots=100 to QuantumLayer"):
        QuantumLayer(qp.set_shots(qnode, 100), inputs=1)
    with pytest.raises(ValueError, match=r"\(inputs= of a QuantumLayer\)"):
        QuantumLayer(qnode)
    with pytest.raises(ValueError, match=r"no argument 'inputs' for one sample \(it has x\)"):
        QuantumLayer(lambda x: function(x), inputs=1)
