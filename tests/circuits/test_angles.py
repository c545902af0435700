"""The angle map against the same sums written out, its gradients against finite differences."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from torch import Tensor

from nisqkit.circuits import lower
from nisqkit.circuits.angles import AngleMap, NonlinearMap


def random_map(seed: int) -> AngleMap:
    """Three inputs, four weights, ten slots; some slots constant, some terms repeated."""
    rng = np.random.default_rng(seed)
    terms = [(int(rng.integers(10)), int(rng.integers(7)), float(rng.normal())) for _ in range(15)]
    return AngleMap(
        ("x0", "x1", "x2"),
        ("w0", "w1", "w2", "w3"),
        tuple(rng.normal(size=10).tolist()),
        tuple(terms),
    )


def products(inputs: Tensor, weights: Tensor) -> Tensor:
    x, w = inputs.unbind(-1), weights.unbind(-1)
    return torch.stack([w[0] * w[1], x[0] * x[1], torch.sin(w[1]) + x[1] ** 2], dim=-1)


MIXED = AngleMap(
    ("x0", "x1"),
    ("w0", "w1"),
    (0.0, 0.25, 0.0, 0.0, 0.0),
    ((1, 2, 3.0), (3, 0, -2.0)),
    NonlinearMap((4, 0, 2), ((2, 3), (0, 1), (1, 3)), "products", products),
)
"""Slots: ``x0 x1``, ``0.25 + 3 w0``, ``sin(w1) + x1^2``, ``-2 x0``, ``w0 w1``."""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_affine_slots(seed: int, batch: int) -> None:
    angle_map = random_map(seed)
    x, w = numbers(batch, 3), numbers(4, seed=1)
    parameters = np.concatenate([x.numpy(), np.broadcast_to(w.numpy(), (batch, 4))], axis=1)
    expected = np.tile(angle_map.constants, (batch, 1))
    for slot, parameter, coefficient in angle_map.terms:
        expected[:, slot] += coefficient * parameters[:, parameter]
    assert_allclose(angle_map(x, w), expected, atol=1e-13)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_mixed_slots(batch: int) -> None:
    x, w = numbers(batch, 2), numbers(2, seed=1)
    columns = [
        x[:, 0] * x[:, 1],
        0.25 + 3 * w[0] + 0 * x[:, 0],
        torch.sin(w[1]) + x[:, 1] ** 2,
        -2 * x[:, 0],
        w[0] * w[1] + 0 * x[:, 0],
    ]
    torch.testing.assert_close(MIXED(x, w), torch.stack(columns, dim=1))


def test_slots_are_shared_if_no_input_reaches_them() -> None:
    assert MIXED.shared_slots == (1, 4)
    assert MIXED.batched_slots == (0, 2, 3)
    assert MIXED.dependencies == ({0, 1}, {2}, {1, 3}, {0}, {2, 3})
    for seed in range(3):
        angle_map = random_map(seed)
        one, other = angle_map(numbers(2, 3), numbers(4, seed=9))
        differ = (one != other).nonzero().flatten().tolist()
        assert differ == list(angle_map.batched_slots)


@pytest.mark.parametrize("angle_map", [random_map(0), random_map(1), MIXED])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_split_holds_every_slot_once(angle_map: AngleMap, batch: int) -> None:
    x, w = numbers(batch, len(angle_map.inputs)), numbers(len(angle_map.weights), seed=1)
    shared, batched = angle_map.split(x, w)
    everything = angle_map(x, w)
    assert shared.shape == (len(angle_map.shared_slots),)
    assert sorted(angle_map.shared_slots + angle_map.batched_slots) == list(
        range(len(everything.T))
    )
    for row in everything:
        torch.testing.assert_close(shared, row[list(angle_map.shared_slots)])
    torch.testing.assert_close(batched, everything[:, list(angle_map.batched_slots)])


@pytest.mark.parametrize("angle_map", [random_map(0), MIXED])
def test_gradients_are_finite_differences(angle_map: AngleMap) -> None:
    x = numbers(3, len(angle_map.inputs)).requires_grad_()
    w = numbers(len(angle_map.weights), seed=1).requires_grad_()
    assert torch.autograd.gradcheck(angle_map, (x, w))
    assert torch.autograd.gradcheck(angle_map.split, (x, w))
    assert torch.autograd.gradgradcheck(angle_map, (x, w))


def test_an_empty_batch_has_no_gradient_to_the_weights() -> None:
    w = numbers(2).requires_grad_()
    (gradient,) = torch.autograd.grad(MIXED(numbers(0, 2), w).sum(), w)
    assert gradient.tolist() == [0, 0]


def test_identity() -> None:
    angle_map = AngleMap.identity(4)
    x = numbers(3, 4)
    assert torch.equal(angle_map(x, x.new_zeros(0)), x)
    assert angle_map.num_slots == len(set(angle_map.inputs)) == 4
    assert angle_map.shared_slots == ()


def test_no_slots_at_all() -> None:
    empty = AngleMap((), (), ())
    assert empty(torch.zeros(3, 0), torch.zeros(0)).shape == (3, 0)


def test_dtype_follows_the_arguments() -> None:
    tenth = AngleMap((), ("w",), (0.1,), ((0, 0, 1.0),))
    x, w = torch.zeros(1, 0), torch.zeros(1)
    assert tenth(x, w).dtype == torch.float32
    double = tenth(x.double(), w.double())
    assert double.dtype == torch.float64
    assert double.item() == 0.1  # not rounded to float32 on the way


def test_evaluation_in_inference_mode_does_not_spoil_training() -> None:
    angle_map = random_map(5)
    x, w = numbers(2, 3), numbers(4)
    with torch.inference_mode():
        angle_map(x, w)
    w.requires_grad_()
    angle_map(x, w).sum().backward()
    assert w.grad is not None


def test_formulas_of_signs_and_constants_take_a_batch() -> None:
    circuit, x = QuantumCircuit(1), ParameterVector("x", 2)
    circuit.rx((x[0] * x[1]).sign(), 0)
    circuit.ry((x[0] * x[1]) ** 0, 0)
    circuit.rz(abs(x[0] * x[1]), 0)
    rows = torch.tensor([[0.5, -2.0], [0.5, 2.0], [0.0, 1.0]])
    angles = lower(circuit, inputs=x).angles(rows, torch.zeros(0))
    assert angles.tolist() == [[-1, 1, 1], [1, 1, 1], [0, 1, 0]]


def test_equality_is_that_of_structure_and_key() -> None:
    def other(inputs: Tensor, weights: Tensor) -> Tensor:
        return products(inputs, weights)

    nonlinear = MIXED.nonlinear
    assert nonlinear is not None
    twin = NonlinearMap(nonlinear.slots, nonlinear.parameters, "products", other)
    assert nonlinear == twin
    assert hash(nonlinear) == hash(twin)
    assert nonlinear != NonlinearMap(nonlinear.slots, nonlinear.parameters, "sums", other)
    assert random_map(1) == random_map(1)
    assert hash(random_map(1)) == hash(random_map(1))
    assert random_map(1) != random_map(2)


def test_pickle_carries_no_cache() -> None:
    circuit, x, w = QuantumCircuit(1), ParameterVector("x", 2), ParameterVector("w", 2)
    circuit.rx(x[0] * w[1], 0)
    circuit.ry(w[0] * w[1] + 1, 0)
    circuit.rz(2 * x[1] - w[0], 0)
    angle_map = lower(circuit, inputs=x).angle_map
    before = len(pickle.dumps(angle_map))
    values = angle_map(numbers(3, 2), numbers(2))
    data = pickle.dumps(angle_map)
    assert len(data) == before
    again = pickle.loads(data)
    assert again == angle_map
    assert torch.equal(again(numbers(3, 2), numbers(2)), values)
