"""Noisy values of sub-circuits by the Heisenberg picture are those of the density engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.circuits.design_spaces import DESIGN_SPACES, DesignSpace
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.device_values import DeviceValues, ptm_of_unitary
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.pauli_basis import ptm_of_superop, superop_of_kraus

BELEM = Device.load("fake_belem")
NOISE = NoiseModel.from_device(BELEM)


def by_the_engine(
    values: DeviceValues, mask: list[bool], layout: list[int], observables: Observables
) -> torch.Tensor:
    """The placed circuit, one per basis, on the density engine."""
    routed = values.blocks.route(values.program.select(mask), layout)
    assert observables.sums is not None
    placed, placement = values.blocks.program(values.program, routed)
    task = Task(placed, values.inputs, values.weights, observables, placement=placement)
    return execute([task], Execution(noise=NOISE))[0].values


@pytest.mark.parametrize("space", DESIGN_SPACES)
def test_every_space_with_and_without_routing(space: str) -> None:
    design = DesignSpace(space, 4, blocks=3)
    front = encoder("4x4_ryzxy")
    program = lower(front.compose(design.circuit()), inputs="x")
    rng = np.random.default_rng(2)
    x = torch.rand(5, 16, dtype=torch.float64)
    weights = torch.from_numpy(rng.uniform(-3, 3, len(program.weights)))
    values = DeviceValues(program, NOISE, x, weights)
    z = Observables.parse(None, 4)
    for _ in range(3):
        sub = design.space.sample(rng)
        mask = [True] * len(front.data) + list(design.mask(sub))[: program.num_groups - 16]
        layout = rng.permutation(5)[:4].tolist()
        (found,) = values.of([mask], [layout])
        torch.testing.assert_close(
            found, by_the_engine(values, mask, layout, z), atol=1e-12, rtol=0
        )


def test_other_bases_are_rotated_by_noisy_gates() -> None:
    """A Hamiltonian of X, Y and Z against the same circuit with rotations written by hand."""
    program = lower(u3_cu3(3, blocks=1))
    weights = torch.linspace(-2, 2, len(program.weights), dtype=torch.float64)
    none = torch.zeros(1, 0, dtype=torch.float64)
    observables = Observables.parse(["XIY", "ZZI", "IXI"], 3)
    values = DeviceValues(program, NOISE, none, weights, observables)
    found = values.of([[True] * program.num_groups], [[0, 1, 2]])[0]
    for k, (basis, z) in enumerate((("XIY", "ZIZ"), ("ZZI", "ZZI"), ("IXI", "IZI"))):
        circuit = u3_cu3(3, blocks=1)
        for q, letter in enumerate(reversed("XXY" if k != 1 else basis)):
            if letter == "Y":
                circuit.sdg(q)
            if letter in "XY":
                circuit.h(q)
        rotated = lower(circuit)
        alone = DeviceValues(rotated, NOISE, none, weights, Observables.parse(z, 3))
        routed = alone.blocks.route(rotated, [0, 1, 2])
        expected = alone._slowly(routed)
        torch.testing.assert_close(found[:, k], expected[:, 0], atol=1e-12, rtol=0)
    routed = values.blocks.route(program, [0, 1, 2])
    torch.testing.assert_close(values._slowly(routed), found, atol=1e-12, rtol=0)


def test_an_encoder_with_entangling_gates_takes_the_slow_route() -> None:
    front = encoder("4_ry")
    again = front.compose(u3_cu3(4, blocks=1)).compose(front)
    program = lower(again, inputs=list(front.parameters))
    x = torch.rand(3, 4, dtype=torch.float64)
    weights = torch.linspace(-1, 1, len(program.weights), dtype=torch.float64)
    values = DeviceValues(program, NOISE, x, weights)
    mask = [True] * program.num_groups
    routed = values.blocks.route(program, [0, 1, 2, 3])
    assert values._encoder(routed) is None
    (found,) = values.of([mask], [[0, 1, 2, 3]])
    expected = by_the_engine(values, mask, [0, 1, 2, 3], Observables.parse(None, 4))
    torch.testing.assert_close(found, expected)


def test_transfer_matrices_of_unitaries() -> None:
    rng = np.random.default_rng(0)
    for dim in (2, 4):
        unitary, _ = np.linalg.qr(rng.normal(size=(dim, dim)) + 1j * rng.normal(size=(dim, dim)))
        expected = ptm_of_superop(superop_of_kraus([unitary]), dim.bit_length() - 1)
        np.testing.assert_allclose(ptm_of_unitary(unitary[None])[0], expected.real, atol=1e-12)


def program_of_two() -> Program:
    return lower(u3_cu3(2, blocks=1))


def test_bad_input() -> None:
    program = program_of_two()
    none, weights = torch.zeros(1, 0), torch.zeros(len(program.weights))
    by_hand = NoiseModel("flips", {("cx", ()): Channel.pauli({"IX": 0.1})}, {"u3", "measure"})
    with pytest.raises(ValueError, match="flips is no noise of a device"):
        DeviceValues(program, by_hand, none, weights)
    idle = NoiseModel.from_device(BELEM, idle=True)
    with pytest.raises(ValueError, match="fake_belem has idle noise, which depends on the whole"):
        DeviceValues(program, idle, none, weights)
    with pytest.raises(ValueError, match="Pauli strings or sums of them here, not 'probs'"):
        DeviceValues(program, NOISE, none, weights, Observables.parse("probs", 2))
