"""Circuits put together from native blocks: the same values, on the device's own edges."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from nisqkit.circuits import Observables, Task, circuit_of, encoder, lower, u3_cu3, zz_feature_map
from nisqkit.circuits.design_spaces import DESIGN_SPACES, DesignSpace
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.native_blocks import NativeBlocks
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Device

with warnings.catch_warnings(action="ignore"):
    DEVICES = {n: Device.load(n) for n in ("fake_belem", "fake_yorktown", "fake_jakarta")}
BLOCKS = {name: NativeBlocks(device) for name, device in DEVICES.items()}


def values(program: Program, observables: Observables, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    inputs = torch.rand(3, len(program.inputs), dtype=torch.float64, generator=random)
    weights = torch.rand(len(program.weights), dtype=torch.float64, generator=random)
    return execute([Task(program, inputs, weights, observables)], Execution("reference"))[0].values


@pytest.mark.parametrize("space", DESIGN_SPACES)
@pytest.mark.parametrize("device", DEVICES)
def test_values_are_those_of_the_logical_circuit(space: str, device: str) -> None:
    design = DesignSpace(space, 4, blocks=2)
    program = lower(encoder("4x4_ryzxy").compose(design.circuit()), inputs="x")
    rng = np.random.default_rng(1)
    for _ in range(2):
        layout = rng.permutation(DEVICES[device].num_qubits)[:4].tolist()
        routed = BLOCKS[device].route(program, layout)
        placed, placement = BLOCKS[device].program(program, routed)
        width = placed.num_qubits
        strings = []
        for q in range(4):
            letters = ["I"] * width
            letters[width - 1 - placement.measured[q]] = "Z"
            strings.append("".join(letters))
        there = values(placed, Observables.parse(strings, width))
        here = values(program, Observables.parse(None, 4))
        torch.testing.assert_close(there, here, atol=1e-10, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_gates_are_the_devices_and_stand_on_its_edges(device: str) -> None:
    program = lower(u3_cu3(4, blocks=2))
    routed = BLOCKS[device].route(program, (3, 0, 1, 4))
    for piece in routed.pieces:
        for gate in piece.block:
            qubits = tuple(piece.physical[k] for k in gate.on)
            assert DEVICES[device].gate(gate.name, qubits) is not None


def test_counts_are_qiskits() -> None:
    blocks = BLOCKS["fake_belem"]
    program = lower(u3_cu3(4, blocks=2))
    routed = blocks.route(program, (0, 1, 2, 3))
    placed, placement = blocks.program(program, routed)
    circuit = circuit_of(placed)
    counts = blocks.counts(routed)
    ops = circuit.count_ops()
    assert counts["two_qubit_gates"] == ops["cx"]
    assert counts["one_qubit_gates"] == ops["sx"] + ops.get("x", 0)  # rz is virtual
    assert counts["depth"] == circuit.depth(lambda i: i.operation.name != "rz")
    device = DEVICES["fake_belem"]
    errors = [
        device.gate(use.name, [placement.physical[q] for q in use.qubits]).error or 0.0  # type: ignore[union-attr]
        for use in placed.gates
    ]
    readout = [sum(device.readout[placement.physical[q]] or ()) / 2 for q in placement.measured]
    expected = math.prod(1 - e for e in [*errors, *readout])
    assert counts["success_probability"] == pytest.approx(expected)


def test_a_swap_is_really_there() -> None:
    """Level 2 of Qiskit's transpiler would take a swap for a change of names."""
    program = lower(DesignSpace("rxyz_u1_cu3", 2, blocks=1).circuit())
    routed = BLOCKS["fake_belem"].route(program, (0, 1))
    assert routed.layout == (0, 1)
    swaps = [p for p in routed.pieces if p.use is not None and p.use.name == "swap"]
    assert all(sum(g.name == "cx" for g in p.block) == 3 for p in swaps) and swaps


def test_the_path_of_smallest_error_is_taken() -> None:
    """Yorktown's bow tie: 0 and 3 are joined by 2 alone, 1 and 0 directly."""
    blocks = BLOCKS["fake_yorktown"]
    program = lower(u3_cu3(2, blocks=1))
    assert blocks.route(program, (0, 3)).layout == (2, 3)
    assert blocks.route(program, (0, 1)).layout == (0, 1)


def test_dead_edges_are_gone_around() -> None:
    device = DEVICES["fake_yorktown"]
    gates = tuple(g._replace(error=1.0) if set(g.qubits) == {0, 1} else g for g in device.gates)
    broken = NativeBlocks(replace(device, gates=gates))
    routed = broken.route(lower(u3_cu3(2, blocks=1)), (0, 1))
    assert not any(set(p.physical) == {0, 1} for p in routed.pieces)
    alone = tuple(g._replace(error=1.0) if len(g.qubits) == 2 else g for g in device.gates)
    with pytest.raises(ValueError, match="qubits 0 and 1 of fake_yorktown are not connected"):
        NativeBlocks(replace(device, gates=alone)).route(lower(u3_cu3(2, blocks=1)), (0, 1))


def test_blocks_are_made_once() -> None:
    blocks = NativeBlocks(DEVICES["fake_belem"])
    program = lower(u3_cu3(4, blocks=4))
    first = blocks.route(program, (0, 1, 2, 3))
    known = dict(blocks._known)
    assert blocks.route(program, (0, 1, 2, 3)) == first
    assert blocks._known == known
    whole = transpile_to(program, DEVICES["fake_belem"], layout=(0, 1, 2, 3))
    ours = blocks.counts(first)["two_qubit_gates"]
    theirs = whole.circuit.count_ops()["cx"]
    assert theirs <= ours <= 2 * theirs  # an upper bound, and not far


def test_what_blocks_cannot_do() -> None:
    formulas = lower(zz_feature_map(2), inputs="x")
    blocks = BLOCKS["fake_belem"]
    with pytest.raises(AssertionError, match="blocks are for affine angles"):
        blocks.program(formulas, blocks.route(formulas, (0, 1)))
