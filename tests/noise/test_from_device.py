import time
from dataclasses import replace

import numpy as np
import pytest
from qiskit.quantum_info import PTM, SuperOp
from qiskit_aer.noise import NoiseModel as AerNoiseModel

from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.noise import Device, NoiseModel
from nisqkit.noise.channels import total_ptm
from nisqkit.noise.schedule import Use

# almaden has u1, u2 and u3; manhattan dead edges; fez cz; in santiago relaxation alone is worse
# than some of the reported errors
DEVICES = (
    "fake_santiago",
    "fake_belem",
    "fake_yorktown",
    "fake_armonk",
    "fake_almaden",
    "fake_manhattan",
    "fake_jakarta",
    "fake_fez",
)


def aer_ptms(model: AerNoiseModel) -> dict[Use, np.ndarray]:
    return {
        (name, qubits): PTM(error.to_quantumchannel()).data
        for name, errors in model._local_quantum_errors.items()
        for qubits, error in errors.items()
    }


def our_ptms(model: NoiseModel) -> dict[Use, np.ndarray]:
    return {
        use: total_ptm([(n.channel, n.on) for n in noises], len(use[1]))
        for use, noises in model.gates.items()
    }


def assert_equal_to_aer(device: Device) -> None:
    qubits = range(min(device.num_qubits, 8))
    part = device.reduced(qubits)
    ours = our_ptms(NoiseModel.from_device(part))
    theirs = aer_ptms(aer_noise_model(part))
    assert theirs
    for use in ours.keys() | theirs.keys():
        wanted = theirs.get(use, np.eye(4 ** len(use[1])))
        assert np.abs(ours[use] - wanted).max() < 1e-12, use


@pytest.mark.parametrize("name", DEVICES)
def test_every_gate_has_ibms_noise(name: str) -> None:
    assert_equal_to_aer(Device.load(name))


def test_unusual_calibrations_have_ibms_noise() -> None:
    santiago = Device.load("fake_santiago")
    long = replace(santiago, t2=tuple(3 * t for t in santiago.t1 if t))  # T2 above 2 T1
    missing = replace(santiago, t1=(None, *santiago.t1[1:]), t2=(*santiago.t2[:2], None, None, 1.0))
    short = replace(santiago, t1=(1e-7,) * 5, t2=(1e-7,) * 5)  # relaxation beyond the error
    gates = []
    for g in santiago.gates:
        if g.gate == "cx":
            errors = {0: 1.0, 1: None, 2: 0.95, 3: 0.78, 4: 0.0}
            g = g._replace(error=errors[g.qubits[0]])
        elif g.gate == "sx":
            durations = {0: 0.0, 1: None, 2: 1e-6, 3: 1.0, 4: 1e-9}
            g = g._replace(duration=durations[g.qubits[0]])
        gates.append(g)
    strange = replace(santiago, gates=tuple(gates))
    for device in (long, missing, short, strange):
        assert_equal_to_aer(device)
    kinds = {n.channel.kind for n in NoiseModel.from_device(short).gates["cx", (0, 1)]}
    assert kinds == {"relaxation", "dephasing"}
    kinds = {n.channel.kind for n in NoiseModel.from_device(long).gates["cx", (0, 1)]}
    assert kinds == {"depolarizing", "relaxation"}


@pytest.mark.parametrize("name", ["fake_yorktown", "fake_almaden"])
def test_the_pauli_kind_is_the_twirl(name: str) -> None:
    device = Device.load(name)
    full, twirled = (our_ptms(NoiseModel.from_device(device, k)) for k in ("full", "pauli"))
    assert full.keys() == twirled.keys()
    for use, ptm in full.items():
        assert np.allclose(twirled[use], np.diag(ptm.diagonal()), atol=1e-14)
    model = NoiseModel.from_device(device, "pauli")
    for (gate, qubits), noises in model.gates.items():
        assert [(n.channel.kind, n.cause) for n in noises] == [
            ("pauli", f"{gate} {'-'.join(map(str, qubits))}")
        ]


def test_the_reported_error_is_the_infidelity_of_all_channels() -> None:
    device = Device.load("fake_belem")
    model = NoiseModel.from_device(device)
    exact = 0
    for use, ptm in our_ptms(model).items():
        calibration = device.gate(*use)
        assert calibration is not None
        dim = 2 ** len(use[1])
        fidelity = (np.trace(ptm) / dim + 1) / (dim + 1)
        if use[0] == "reset":
            continue
        assert calibration.error is not None
        if model.gates[use][0].channel.kind == "depolarizing":
            assert 1 - fidelity == pytest.approx(calibration.error, rel=1e-9)
            exact += 1
        else:  # relaxation alone is worse than what was reported
            assert 1 - fidelity > calibration.error
    assert exact > 10


def test_causes_and_ideal_gates() -> None:
    model = NoiseModel.from_device(Device.load("fake_santiago"))
    assert model.ideal == {("rz", (q,)) for q in range(5)}
    causes = [(n.channel.kind, n.on, n.cause) for n in model.gates["cx", (3, 2)]]
    assert causes == [
        ("depolarizing", (0, 1), "cx 3-2"),
        ("relaxation", (0,), "T1 of 3"),
        ("dephasing", (0,), "T2 of 3"),
        ("relaxation", (1,), "T1 of 2"),
        ("dephasing", (1,), "T2 of 2"),
    ]
    old = NoiseModel.from_device(Device.load("fake_almaden"))
    assert {entry[0] for entry in old.ideal} == {"u1"}


def test_readout_stays_asymmetric() -> None:
    device = Device.load("fake_santiago")
    model = NoiseModel.from_device(device)
    assert len(model.readout) == 5
    for q, confusion in enumerate(model.readout):
        (kept_0, p01), (p10, kept_1) = confusion.matrix
        assert (p10, p01) == device.readout[q]
        assert p10 != p01
        assert kept_0 == 1 - p10 and kept_1 == 1 - p01
    blind = replace(device, readout=(None, *device.readout[1:]))
    assert [c.qubits for c in NoiseModel.from_device(blind).readout] == [(1,), (2,), (3,), (4,)]


def test_idle_times_and_durations_come_from_the_device() -> None:
    device = replace(Device.load("fake_santiago"), t1=(None, *Device.load("fake_santiago").t1[1:]))
    idle = NoiseModel.from_device(device, idle=True).idle
    assert idle is not None
    assert idle.times[0] is None
    assert idle.times[1] == (device.t1[1], device.t2[1])
    assert idle.durations["cx", (0, 1)] == device.gate("cx", (0, 1)).duration  # type: ignore[union-attr]
    assert not idle.twirled
    twirled = NoiseModel.from_device(device, "pauli", idle=True).idle
    assert twirled is not None and twirled.twirled
    assert NoiseModel.from_device(device).idle is None


def test_building_is_fast() -> None:
    small, large = Device.load("fake_santiago"), Device.load("fake_brisbane")
    for device, limit in ((small, 0.1), (large, 1.0)):  # measured: 2 ms and 10 ms
        for kind in ("full", "pauli"):
            start = time.perf_counter()
            NoiseModel.from_device(device, kind)
            assert time.perf_counter() - start < limit


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="kind is 'twirled': give 'full' or 'pauli'"):
        NoiseModel.from_device(Device.load("fake_santiago"), "twirled")
    with pytest.raises(TypeError, match=r"made from a Device .* not from str"):
        NoiseModel.from_device("fake_santiago")  # type: ignore[arg-type]


def test_aer_starts_from_what_was_compared() -> None:
    error = aer_noise_model(Device.load("fake_santiago"))._local_quantum_errors["cx"][0, 1]
    assert SuperOp(error).is_cptp()
