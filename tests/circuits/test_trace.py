"""Traced angle functions: affine where provable, torch functions elsewhere."""

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from nisqkit.circuits.trace import angle_map_of, sample_point

Function = Callable[[Tensor, Tensor], Sequence[Tensor]]
MATRIX = torch.tensor([[0.5, -1.25], [2.0, 0.1], [3.0, 0.0]], dtype=torch.float64)


def assigned(x: Tensor, w: Tensor) -> Tensor:
    angles = torch.zeros(3, dtype=torch.float64)
    angles[0], angles[1:] = torch.sin(x[0]), 2 * w[:2]
    angles += 1.5
    angles[2] *= w[0]
    return angles


def assigned_affinely(x: Tensor, w: Tensor) -> Tensor:
    angles = torch.zeros(4, dtype=torch.float64)
    angles[1:3], angles[3] = 2 * w[:2], x[1]
    angles -= 0.5
    return angles


AFFINE: dict[str, Function] = {
    "scale and shift": lambda x, w: [2 * x[:1] - w[1:2] / 3 + 1],
    "constant": lambda x, w: [torch.tensor([0.5])],
    "matrix": lambda x, w: [MATRIX @ x, w @ MATRIX],
    "stack, cat, flip": lambda x, w: [torch.cat([x, torch.stack([w[0], x[1]])]).flip(0)],
    "reshape, transpose": lambda x, w: [torch.cat([x, w[:2]]).reshape(2, 2).T.reshape(-1)],
    "sum, mean": lambda x, w: [w.sum().reshape(1), w.mean().reshape(1)],
    "unbind, split": lambda x, w: [w.unbind()[2].reshape(1), w.split(2)[1], x.chunk(2)[0]],
    "index": lambda x, w: [w[torch.tensor([2, 0])], w[[1]]],
    "like a constant": lambda x, w: [torch.ones_like(x) * w[0] - torch.full_like(x, 0.25)],
    "assigned, affine": lambda x, w: [assigned_affinely(x, w)],
    "dtype": lambda x, w: [(x.to(torch.complex128) * 1j).imag],
}
NONLINEAR: dict[str, Function] = {
    "product": lambda x, w: [x * w[0]],
    "square": lambda x, w: [x**2, x * x],
    "sine": lambda x, w: [torch.sin(w)],
    "quotient": lambda x, w: [1 / x, x / w[0]],
    "rounding": lambda x, w: [torch.round(3 * x), (3 * x).long().double()],
    "comparison": lambda x, w: [torch.where(x > 0.5, x, 2 * x)],
    "assigned": lambda x, w: [assigned(x, w)],
    "detached": lambda x, w: [x.detach() + w[0]],
    "norm": lambda x, w: [x / x.norm()],
    "chosen by value": lambda x, w: [w[(2 * x).long()]],
}


@pytest.mark.parametrize("name", [*AFFINE, *NONLINEAR])
def test_the_map_is_the_function_with_its_gradients(name: str) -> None:
    function = (AFFINE | NONLINEAR)[name]
    found = angle_map_of(function, ("a", "b"), ("u", "v", "z"))
    assert (found.nonlinear is None) == (name in AFFINE)
    x, w = (p.requires_grad_() for p in sample_point(2, 3, seed=9))
    expected = torch.cat([t.reshape(-1).double() for t in function(x, w)])
    angles = found(x[None], w)[0]
    torch.testing.assert_close(angles, expected, rtol=1e-12, atol=1e-12)
    mix = torch.linspace(1, 2, len(angles), dtype=torch.float64)
    if expected.requires_grad:
        slopes = [
            torch.autograd.grad((mix * values).sum(), [x, w], materialize_grads=True)
            for values in (angles, expected)
        ]
        torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-12)


def test_affine_and_other_angles_are_told_apart() -> None:
    found = angle_map_of(lambda x, w: [x + 1, w.sin(), 2 * w], ("x",), ("w",))
    assert found.terms == ((0, 0, 1.0), (2, 1, 2.0))
    assert found.constants == (1.0, 0.0, 0.0)
    assert found.nonlinear is not None
    assert found.nonlinear.slots == (1,)
    assert found.nonlinear.parameters == ((1,),)
    assert found.shared_slots == (1, 2)


def test_maps_are_copied_pickled_and_compared_by_what_they_compute() -> None:
    def make(factor: float) -> Function:
        return lambda x, w: [torch.tensor([factor], dtype=torch.float64) * x * w]

    first, same, other = (angle_map_of(make(f), ("x",), ("w",)) for f in (2.0, 2.0, 3.0))
    assert first == same != other
    assert hash(first) == hash(same)
    x, w = torch.tensor([[0.5], [2.0]]), torch.tensor([3.0])
    for again in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert again == first
        torch.testing.assert_close(again(x, w), torch.tensor([[3.0], [12.0]]))


def test_batches_and_dtypes_follow_the_inputs() -> None:
    found = angle_map_of(lambda x, w: [torch.sin(x * w)], ("x",), ("w",))
    assert found.nonlinear is not None
    function = found.nonlinear.function
    x, w = torch.rand(2, 3, 1), torch.rand(2, 3, 1)
    torch.testing.assert_close(function(x, w), torch.sin(x * w))
    assert function(x[:0], w[:0]).shape == (0, 3, 1)
    assert function(x[0, 0], w[0, 0]).shape == (1,)


def test_a_normalisation_can_be_left_out() -> None:
    function: Function = lambda x, w: [w, x / x.norm()]  # noqa: E731
    assert angle_map_of(function, ("a", "b"), ("u",), any_scale=True).nonlinear is None
    assert angle_map_of(function, ("a", "b"), ("u",)).nonlinear is not None


def test_a_decision_on_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="structure depends on the values of the parameters"):
        angle_map_of(lambda x, w: [x if x[0] > 0 else w], ("x",), ("w",))
