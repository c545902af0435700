"""Picking and products against NumPy, and their gradients against finite differences."""

import numpy as np
import pytest
import torch

from nisqkit.hardware_backends.torch_matrices import (
    MINUS,
    UNIT,
    ZERO,
    Constants,
    Picker,
    Products,
    diagonal,
)


def test_picking_and_its_gradient() -> None:
    index = np.array([2, 0, ZERO, 2, UNIT, MINUS, 2])
    picker = Picker(index, 4)  # number 1 and number 3 are not picked
    numbers = torch.randn(3, 4, dtype=torch.complex128, requires_grad=True)
    found = picker(numbers).detach()
    columns = [numbers[:, 2], numbers[:, 0], 0, numbers[:, 2], 1, -1, numbers[:, 2]]
    for k, column in enumerate(columns):
        expected = torch.as_tensor(column, dtype=torch.complex128).expand(3)
        assert torch.equal(found[:, k], expected.detach())
    assert torch.autograd.gradcheck(picker, numbers)
    assert torch.autograd.gradgradcheck(picker, numbers)


@pytest.mark.parametrize("lead", [(), (3,), (0,)])
def test_products_of_several_lengths_and_sizes(lead: tuple[int, ...]) -> None:
    """Short products beside long ones, so that some are padded and some have their own group."""
    lengths = [(2, 3), (4, 1), (2, 1), (2, 40), (4, 5), (2, 1), (2, 2), (2, 1), (2, 1), (2, 1)]
    random = np.random.default_rng(1)
    lists = [[random.integers(0, 50, (dim, dim)) for _ in range(n)] for dim, n in lengths]
    lists[1][0] = diagonal(4)
    products = Products(lists, 50)
    numbers = torch.randn(*lead, 50, dtype=torch.complex128) / 2
    found = products(numbers)
    flat = torch.cat([group.flatten(-3) for group in found], dim=-1)
    assert flat.shape == (*lead, products.size)
    for rows, (group, row), start in zip(lists, products.places, products.starts, strict=True):
        result = found[group][..., row, :, :]
        dim = len(rows[0])
        assert torch.equal(flat[..., start : start + dim * dim], result.flatten(-2))
        extended = torch.cat([numbers, numbers.new_tensor([0, 1, -1]).expand(*lead, 3)], dim=-1)
        expected = torch.eye(dim, dtype=torch.complex128)
        for matrix in rows:
            expected = (
                extended[..., torch.from_numpy(matrix % 53 if (matrix < 0).any() else matrix)]
                @ expected
            )
        torch.testing.assert_close(result, expected.expand_as(result))


def test_constants_are_made_once_for_each_dtype() -> None:
    constants = Constants(index=np.array([1, 2]), real=np.ones(2), c=np.ones(2) * 1j)
    single = constants.on(torch.zeros(1))
    assert [t.dtype for t in single.values()] == [torch.int64, torch.float32, torch.complex64]
    assert constants.on(torch.zeros(1, dtype=torch.complex64)) is single
    double = constants.on(torch.zeros(1, dtype=torch.float64))
    assert [t.dtype for t in double.values()] == [torch.int64, torch.float64, torch.complex128]
