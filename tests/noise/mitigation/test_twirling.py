"""Twirled copies do the same; their mean is the Pauli-twirled channel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from torch import Tensor

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import PauliTwirling
from nisqkit.noise.mitigation.twirling import _TWIRLED, twirled

LOGICAL = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1)), inputs="x")
NATIVE = transpile_to(LOGICAL, Device.load("fake_belem")).native
OLD = transpile_to(LOGICAL, Device.load("fake_poughkeepsie")).native


def values(program: Program) -> Tensor:
    random = torch.Generator().manual_seed(0)
    inputs = torch.rand(3, len(program.inputs), dtype=torch.float64, generator=random)
    weights = torch.rand(len(program.weights), dtype=torch.float64, generator=random)
    z = Observables.parse(None, program.num_qubits)
    return execute([Task(program, inputs, weights, z)], Execution("reference"))[0].values


@pytest.mark.parametrize("copy", range(4))
@pytest.mark.parametrize(
    ("program", "old"), [(NATIVE, False), (OLD, True)], ids=["belem", "poughkeepsie"]
)
def test_a_copy_does_the_same_in_the_same_gates(program: Program, old: bool, copy: int) -> None:
    found = twirled(program, seed=1, copy=copy, old=old)
    assert (values(found) - values(program)).abs().max() < 1e-10
    added = {use.name for use in found.gates} - {use.name for use in program.gates}
    assert added <= ({"u3"} if old else {"x"})
    assert found is twirled(program, seed=1, copy=copy, old=old)  # made once
    assert found.gates != twirled(program, seed=1, copy=copy + 4, old=old).gates


@pytest.mark.parametrize("name", _TWIRLED)
def test_every_twirled_gate_keeps_its_unitary(name: str) -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(0.3, 0)
    circuit.rx(1.1, 1)
    getattr(circuit, name)(0, 1)
    circuit.ry(0.7, 1)
    program = lower(circuit)
    for copy in range(8):
        assert (values(twirled(program, 0, copy)) - values(program)).abs().max() < 1e-10


def test_the_mean_over_copies_is_the_twirled_channel() -> None:
    """A coherent error behind cx, averaged over 400 copies, within 4 sigma of its twirl."""
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    circuit.rx(0.9, 1)
    circuit.cx(0, 1)
    rotation = np.diag(np.exp(0.4j * np.array([1, -1, -1, 1])))  # exp(i 0.4 ZZ)
    error = Channel.kraus([rotation])
    ideal = {"ry", "rx", "x", "rz", "measure"}
    coherent = NoiseModel("coherent", {("cx", ()): error}, ideal)
    mixed = NoiseModel("mixed", {("cx", ()): error.twirled()}, ideal)
    program = lower(circuit)
    z = Observables.parse(["XX", "IX", "ZY", "YI"], 2)
    none = torch.zeros(1, 0, dtype=torch.float64)
    task = Task(program, none, none[0], z)
    copies = torch.cat(
        [
            execute([Task(twirled(program, 5, k), none, none[0], z)], Execution(noise=coherent))[
                0
            ].values
            for k in range(400)
        ]
    )
    expected = execute([task], Execution(noise=mixed))[0].values[0]
    raw = execute([task], Execution(noise=coherent))[0].values[0]
    sigma = copies.std(dim=0) / 20
    assert ((copies.mean(dim=0) - expected).abs() < 4 * sigma + 1e-9).all()
    assert ((raw - expected).abs() > 10 * sigma + 1e-9).any()  # it does something
    mean = execute([task], Execution(noise=coherent, mitigation=PauliTwirling(400, seed=5)))[0]
    assert torch.allclose(mean.values, copies.mean(dim=0, keepdim=True))


def test_shots_are_divided() -> None:
    device = Device.load("fake_belem")
    task = Task(
        LOGICAL,
        torch.zeros(1, 16, dtype=torch.float64),
        torch.zeros(len(LOGICAL.weights), dtype=torch.float64),
        Observables.parse(None, 4),
        shots=4000,
    )
    found = execute([task], Execution(noise=device, mitigation=PauliTwirling(4)))[0]
    plain = execute([task], Execution(noise=device))[0]
    assert found.std is not None
    assert plain.std is not None
    assert found.std.mean() == pytest.approx(plain.std.mean(), rel=0.5)  # as many shots in all
    few, twirling = replace(task, shots=4), Execution(noise=device, mitigation=PauliTwirling(16))
    with pytest.raises(ValueError, match="shots=4 cannot be divided among 16 twirled copies"):
        execute([few], twirling)
    with pytest.raises(ValueError, match="num=0 must be at least 1"):
        PauliTwirling(0)
