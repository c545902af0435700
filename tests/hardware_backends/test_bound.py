"""Binding programs to noise: the angles of native circuits, bases, and what is refused."""

import pickle
from dataclasses import replace

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from torch import Tensor

from nisqkit.circuits import Observables, amplitude, angle, lower, u3_cu3
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.slot_circuit import slot_angles
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.noise import Channel, Confusion, Device, NoiseModel

SANTIAGO = Device.load("fake_santiago")
FLIPS = NoiseModel(
    "flips", {(g, ()): Channel.pauli({"X": 0.01}) for g in ("rx", "ry", "x", "h")}, ["measure"]
)
CORRELATED = Confusion(
    (0, 1), ((0.9, 0.1, 0.1, 0), (0.05, 0.9, 0, 0.1), (0.05, 0, 0.9, 0), (0, 0, 0, 0.9))
)


def amplitudes() -> Program:
    circuit = amplitude(3)
    circuit.rx(Parameter("w"), 0)
    return lower(circuit, "x")


def nonlinear() -> Program:
    x, w = ParameterVector("x", 2), Parameter("w")
    circuit = QuantumCircuit(2)
    circuit.rx(x[0] * x[1], 0)
    circuit.ry(w.sin() + x[1], 1)
    circuit.cx(0, 1)
    circuit.rz(w, 1)
    circuit.ry(2 * w + 1, 1)
    return lower(circuit, "x")


def affine() -> Program:
    return lower(angle(2).compose(u3_cu3(2, blocks=1)), "x")


def values_for(program: Program) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.rand(3, len(program.inputs), generator=random, dtype=torch.float64)
    w = torch.rand(len(program.weights), generator=random, dtype=torch.float64)
    return x.requires_grad_(), w.requires_grad_()


@pytest.mark.parametrize("make", [affine, nonlinear, amplitudes])
def test_a_bound_program_takes_the_logical_inputs_and_weights(make) -> None:  # type: ignore[no-untyped-def]
    """Its angles, and their derivatives, are those of the slots put into the native circuit."""
    program = make()
    noisy = Binder.make(SANTIAGO).bind(program)
    assert noisy.program.inputs == program.inputs
    assert noisy.program.weights == program.weights
    x, w = values_for(program)
    transpiled = transpile_to(program, SANTIAGO)
    slots = slot_angles(program, x, w)
    wanted = transpiled.native.angles(slots, slots.new_zeros(0))
    found = noisy.program.angles(x, w)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
    mix = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).reshape(found.shape)
    for a, b in zip(
        torch.autograd.grad((mix * found).sum(), [x, w]),
        torch.autograd.grad((mix * wanted).sum(), [x, w]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_affine_angles_stay_affine() -> None:
    """Engines compute those faster."""
    assert Binder.make(SANTIAGO).bind(affine()).program.angle_map.nonlinear is None


def test_bound_once_for_each_program_and_basis() -> None:
    program, binder = affine(), Binder.make(SANTIAGO)
    assert binder.bind(program) is binder.bind(program)
    assert Binder.make(SANTIAGO).bind(program) is binder.bind(program)
    assert binder.bind(program, "XY") is binder.bind(program, "XY")
    assert binder.bind(program, "XY") is not binder.bind(program)
    other = Binder.make(SANTIAGO, layout=[3, 2]).bind(program)
    assert other is not binder.bind(program)
    assert [other.physical[q] for q in other.measured] == [3, 2]


def test_every_basis_starts_on_the_same_qubits() -> None:
    program = lower(random_circuit(3, 12, seed=1), "x")
    binder = Binder.make(SANTIAGO)
    body = binder.transpile(program)
    assert body is not None
    for basis in ("XZY", "YYX", "ZZZ"):
        rotated = binder.transpile(program, basis)
        assert rotated is not None
        assert rotated.initial_layout == body.initial_layout
        assert binder.bind(program, basis).physical == rotated.active


def test_rotations_into_a_basis_are_noisy_on_a_device_and_exact_on_a_model_without() -> None:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    device = Binder.make(SANTIAGO, layout=[1])
    plain, rotated = (device.bind(lower(circuit), basis) for basis in (None, "X"))
    assert len(rotated.operations) > len(plain.operations) + 1  # h is rz and a noisy sx
    model = Binder.make(FLIPS)
    plain, rotated = (model.bind(lower(circuit), basis) for basis in (None, "X"))
    last = rotated.operations[-1]
    assert isinstance(last, GateUse) and last.name == "h"
    assert rotated.operations[:-1] == plain.operations


def test_measurements_on_a_device_are_a_circuit_for_each_basis() -> None:
    """After the rotations every letter is a Z."""
    observables = Observables(2, ((("ZX", 0.5), ("IX", 2.0), ("YI", 1.0)), (("YY", -1.0),)))
    parts = Binder.make(SANTIAGO).measurements(affine(), observables)
    assert len(parts) == len(observables.groups)
    totals: dict[str, float] = {}
    for noisy, part in parts:
        assert part.sums is not None and len(part.sums) == 2
        assert {letter for string in part.strings for letter in string} <= set("IZ")
        assert len(noisy.measured) == 2
        for string, coefficient in part.sums[0]:
            totals[string] = totals.get(string, 0.0) + coefficient
    totals.pop("II", None)
    assert totals == {"ZZ": 0.5, "IZ": 2.0, "ZI": 1.0}


def test_measurements_on_a_model_are_one_circuit_unless_qubits_are_read_together() -> None:
    program = lower(angle(2), "x")
    observables = Observables.parse(["XZ", "YI", "ZZ"], 2)
    ((noisy, same),) = Binder.make(FLIPS).measurements(program, observables)
    assert same == observables
    assert noisy is Binder.make(FLIPS).bind(program)
    together = replace(FLIPS, ideal=frozenset(), readout=(CORRELATED,))
    assert len(Binder.make(together).measurements(program, observables)) == 3
    probs = Observables.parse("probs", 2)
    assert Binder.make(SANTIAGO).measurements(program, probs)[0][1] == probs


def test_binders_and_bound_programs_are_pickled() -> None:
    for program in (affine(), nonlinear(), amplitudes()):
        noisy = Binder.make(SANTIAGO).bind(program)
        again = pickle.loads(pickle.dumps(noisy))
        x, w = values_for(program)
        assert torch.equal(again.program.angles(x, w), noisy.program.angles(x, w))
    binder = Binder.make(SANTIAGO, [1, 2])
    assert pickle.loads(pickle.dumps(binder)) == binder


@pytest.mark.parametrize("noise", ["fake_santiago", 3, None, aer_noise_model(SANTIAGO)])
def test_what_is_no_noise(noise: object) -> None:
    message = rf"noise is a Device .*, a NoiseModel or None, not {type(noise).__name__}"
    with pytest.raises(TypeError, match=message):
        Binder.make(noise)  # type: ignore[arg-type]


def test_errors() -> None:
    with pytest.raises(ValueError, match="layout needs a device, and the noise model 'flips' has"):
        Binder.make(FLIPS, layout=[0, 1])
    with pytest.raises(ValueError, match=r"layout \[0, 7\]: 7 is not on fake_santiago"):
        Binder.make(SANTIAGO, layout=[0, 7]).bind(affine())
    with pytest.raises(ValueError, match=r"flips has no noise for it .* add it to `gates`, or"):
        Binder.make(FLIPS).bind(affine())
    foreign = replace(NoiseModel.from_device(SANTIAGO), gates=FLIPS.gates, ideal=FLIPS.ideal)
    with pytest.raises(
        ValueError, match=r"sx on \(3,\), 4 times: fake_santiago has no noise for it"
    ):
        Binder.make(foreign).bind(affine())
    unread = replace(SANTIAGO, readout=(None, *SANTIAGO.readout[1:]))
    with pytest.raises(ValueError, match=r"measure on \(0,\): fake_santiago has no readout error"):
        Binder.make(unread, layout=[0, 1]).bind(affine())
