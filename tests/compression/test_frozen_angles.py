import math
import pickle

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import angle, hardware_efficient, lower
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.compression.frozen_angles import freeze_angles
from nisqkit.hardware_backends.circuit_profile import executions

VALUES = torch.rand(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def affine() -> Program:
    return lower(angle(2).compose(hardware_efficient(2, layers=2)), inputs="x")


def products() -> Program:
    """Angles with products of weights and inputs, and one weight in two places."""
    w, x = ParameterVector("w", 8), ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    for k in range(4):
        circuit.ry(w[k] * w[k + 4] + x[k % 2] * w[k], k % 2)
        circuit.rz(2 * w[k] - 1, (k + 1) % 2)
    circuit.cx(0, 1)
    return lower(circuit, inputs="x")


@pytest.mark.parametrize("make", [affine, products])
@pytest.mark.parametrize("trained", [[], [3], [6, 1, 2], list(range(8))])
def test_angles_are_the_same(make: object, trained: list[int]) -> None:
    program = make()  # type: ignore[operator]
    small = freeze_angles(program, VALUES, trained)
    x = torch.rand(3, 2, dtype=torch.float64)
    new = torch.rand(len(trained), dtype=torch.float64)
    full = VALUES.clone()
    full[trained] = new
    expected = program.angles(x, full)
    assert torch.allclose(small.angles(x, new), expected, atol=1e-14)
    copied = pickle.loads(pickle.dumps(small))
    assert torch.allclose(copied.angles(x, new), expected, atol=1e-14)
    assert small.gates == program.gates
    # gradients to what is left
    new.requires_grad_()
    full = VALUES.clone().requires_grad_()
    (left,) = torch.autograd.grad(small.angles(x, new).sin().sum(), new, allow_unused=True)
    with torch.no_grad():
        full[trained] = new
    (right,) = torch.autograd.grad(program.angles(x, full).sin().sum(), full)
    if trained:
        assert torch.allclose(left, right[trained], atol=1e-14)


def test_each_frozen_rotation_saves_two_executions() -> None:
    program, z = affine(), Observables.parse(None, 2)
    for count in range(9):
        small = freeze_angles(program, VALUES, range(count))
        assert executions(small, z).parameter_shift == 1 + 2 * count


def test_a_weight_in_several_angles_is_saved_in_all() -> None:
    program, z = products(), Observables.parse(None, 2)
    assert executions(program, z).parameter_shift == 1 + 2 * 8
    # w[0] is in two angles; the product with w[4] is one of them
    assert executions(freeze_angles(program, VALUES, [0]), z).parameter_shift == 1 + 2 * 2
    assert executions(freeze_angles(program, VALUES, [4]), z).parameter_shift == 1 + 2 * 1
    assert executions(freeze_angles(program, VALUES, [0, 4]), z).parameter_shift == 1 + 2 * 2


def test_programs_with_other_constants_differ() -> None:
    for make in (affine, products):
        one, same = (freeze_angles(make(), VALUES, [0]) for _ in range(2))
        assert one == same
        assert one != freeze_angles(make(), VALUES + math.pi, [0])


def test_bad_positions() -> None:
    for trained in ([8], [-1], [1, 1], [0.0]):
        with pytest.raises(ValueError, match="must be different positions from 0 to 7"):
            freeze_angles(affine(), VALUES, trained)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(7,\), but the circuit has 8 weights"):
        freeze_angles(affine(), VALUES[:7], [0])
