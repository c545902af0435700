import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from nisqkit.circuits import lower, u3_cu3
from nisqkit.compression.angles import angle_periods
from nisqkit.qml import QuantumLayer


def test_outputs_repeat_after_a_period_and_not_after_half_of_it() -> None:
    a, b, c, d = (Parameter(name) for name in "abcd")
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.ry(a, 0)
    circuit.crx(b, 0, 1)
    circuit.rzz(0.5 * c, 1, 2)
    circuit.cp(3 * d, 2, 0)
    circuit.rx(d + 0.3, 0)
    circuit.ry(c, 2)
    layer = QuantumLayer(
        circuit, observables=["ZXY", "XIZ", "IYX"], seed=1, init="uniform"
    ).double()
    periods = angle_periods(layer.program)
    assert (periods / torch.pi).tolist() == [2, 4, 4, 2]
    start = layer.weights.detach().clone()
    before = layer().detach()
    for k, period in enumerate(periods):
        for share, same in ((1.0, True), (0.5, False)):
            with torch.no_grad():
                layer.weights.copy_(start)
                layer.weights[k] += share * period
            assert torch.allclose(layer(), before, atol=1e-9) == same


def test_u3_and_controlled_u3() -> None:
    periods = angle_periods(lower(u3_cu3(2, blocks=1)))
    assert set((periods / torch.pi).round(decimals=6).tolist()) <= {2.0, 4.0}


def test_what_has_no_period() -> None:
    a = Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.rx(a, 0)
    circuit.rz(2**0.5 * a, 0)
    with pytest.raises(ValueError, match="the angles of weight 'a' have no common period"):
        angle_periods(lower(circuit))
    formula = QuantumCircuit(1)
    formula.rx(a * a, 0)
    with pytest.raises(ValueError, match="weight 'a' stands in a formula"):
        angle_periods(lower(formula))
