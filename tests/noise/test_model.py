import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nisqkit.noise import Channel, Confusion, Device, Noise, NoiseModel

FLIP = Channel.pauli({"X": 0.1})
PAIR = Channel.depolarizing(0.02, num_qubits=2)
READ = Confusion.flips(0, read_1_after_0=0.01, read_0_after_1=0.03)


def make_model(**changes: Any) -> NoiseModel:
    fields: dict[str, Any] = {
        "name": "tiny",
        "gates": {
            ("cx", (0, 1)): [PAIR, Noise(FLIP, (1,), "flips")],
            ("cx", ()): PAIR,
            ("x", ()): FLIP,
        },
        "ideal": ["rz", ("x", (3,))],
        "readout": [READ, Confusion.flips(None, read_1_after_0=0.1, read_0_after_1=0.2)],
    }
    return NoiseModel(**fields | changes)


def test_what_follows_a_gate() -> None:
    model = make_model()
    assert model.noise_after("cx", (0, 1)) == (
        Noise(PAIR, (0, 1), "cx 0-1"),
        Noise(FLIP, (1,), "flips"),
    )
    assert model.noise_after("cx", (1, 0)) == (Noise(PAIR, (0, 1), "cx 1-0"),)
    assert model.noise_after("x", (2,)) == (Noise(FLIP, (0,), "x 2"),)
    assert model.noise_after("x", (3,)) == ()
    assert model.noise_after("rz", (0,)) == ()
    assert model.noise_after("h", (0,)) is None


def test_an_entry_of_its_own_goes_before_an_ideal_name() -> None:
    model = NoiseModel("tiny", {("x", (0,)): FLIP}, ["x"])
    assert model.noise_after("x", (0,)) == (Noise(FLIP, (0,), "x 0"),)
    assert model.noise_after("x", (1,)) == ()


def test_readout_of_some_qubits() -> None:
    model = make_model()
    found = model.readout_of([2, 0])
    assert found[0] == READ
    assert found[1] == Confusion.flips(2, read_1_after_0=0.1, read_0_after_1=0.2)
    pair = Confusion((1, 2), np.eye(4))
    assert make_model(readout=[pair]).readout_of([0, 2]) == (pair,)


def test_models_are_values() -> None:
    model = make_model()
    assert model == make_model() and hash(model) == hash(make_model())
    again = pickle.loads(pickle.dumps(model))
    assert again == model and hash(again) == hash(model)
    assert model != model.scale(0.5)
    assert model != make_model(readout=[READ])
    device = NoiseModel.from_device(Device.load("fake_santiago"), idle=True)
    assert pickle.loads(pickle.dumps(device)) == device


def test_scaling_pauli_channels_multiplies_probabilities() -> None:
    model = make_model().scale(2)
    assert model.gates["x", ()][0].channel == Channel.pauli({"X": 0.2})
    assert model.name == "tiny x2"
    assert model.readout == make_model().readout
    read = make_model().scale(2, readout=True).readout
    assert read[0].matrix[1][0] == pytest.approx(0.02)
    assert read[1].matrix[0][1] == pytest.approx(0.4)


def test_scaling_the_full_noise_multiplies_times_and_rates() -> None:
    device = Device.load("fake_santiago")
    model = NoiseModel.from_device(device, idle=True)
    # the same as gates that take three times as long, after rates of errors three times as large
    slow = replace(
        device, gates=tuple(g._replace(duration=3 * (g.duration or 0)) for g in device.gates)
    )
    thrice, wanted = model.scale(3), NoiseModel.from_device(slow)
    for use, noises in thrice.gates.items():
        for before, after in zip(model.gates[use], noises, strict=True):
            if before.channel.kind == "depolarizing":
                (p,), (q,) = before.channel.parameters, after.channel.parameters
                assert 1 - q == pytest.approx((1 - p) ** 3)
        thermal = [n.channel.parameters[0] for n in noises if n.channel.kind != "depolarizing"]
        slowed = [
            n.channel.parameters[0] for n in wanted.gates[use] if n.channel.kind != "depolarizing"
        ]
        assert thermal == pytest.approx(slowed, rel=1e-12)
    assert thrice.idle is not None and model.idle is not None
    assert thrice.idle.channels(0, 1e-6)[0].parameters == pytest.approx(
        model.idle.channels(0, 3e-6)[0].parameters
    )


@pytest.mark.parametrize("kind", ["full", "pauli"])
def test_strength_0_is_no_noise_at_all(kind: str) -> None:
    model = NoiseModel.from_device(Device.load("fake_yorktown"), kind, idle=True)
    silent = model.scale(0, readout=True)
    assert all(n.channel.is_identity for noises in silent.gates.values() for n in noises)
    assert all(np.array_equal(c.array, np.eye(2)) for c in silent.readout)
    assert silent.idle is not None
    assert all(c.is_identity for c in silent.idle.channels(0, 1e-6))


def test_dead_gates_do_not_stop_scaling() -> None:
    device = Device.load("fake_manhattan")
    for kind in ("full", "pauli"):
        model = NoiseModel.from_device(device, kind)
        use = "cx", device.dead_edges[0]
        assert model.scale(1.5).gates[use] == model.gates[use]


def test_repr_reads_as_the_model() -> None:
    assert repr(make_model()) == (
        "NoiseModel('tiny', custom, cx 0.093 (1) and 0.015 (others), x 0.067 (all); "
        "exact: x (1), rz; readout 0.020 (1) and 0.15 (others))"
    )
    assert repr(NoiseModel("nothing", {})) == "NoiseModel('nothing', custom)"
    device = Device.load("fake_manhattan")
    text = repr(NoiseModel.from_device(device, "pauli", idle=True))
    assert "'fake_manhattan', pauli, 2021-03-15, cx 0.016 (100)" in text
    assert text.endswith("; idle time)")
    dead = NoiseModel.from_device(device.reduced(device.dead_edges[0]))
    assert "cx dead" in repr(dead)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "exact"}, "kind is 'exact': give 'full', 'pauli' or 'custom'"),
        (
            {"gates": {("cx", (0, 1)): FLIP}},
            r"the noise of cx on \(0, 1\) is a channel on 1 qubit, and the gate has 2: say on",
        ),
        ({"gates": {("cx", ()): FLIP}}, "cx on any qubits is a channel on 1 qubit, and the gate"),
        (
            {"gates": {("cx", ()): Noise(FLIP, (2,))}},
            r"acts on positions \(2,\): give 1 distinct positions between 0 and 1",
        ),
        ({"gates": {("cx", ()): Noise(PAIR, (1, 1))}}, r"acts on positions \(1, 1\)"),
        (
            {"gates": {("zap", ()): Noise(PAIR, (1,))}},
            r"positions \(1,\): give 2 distinct pos.*ns$",
        ),
        ({"ideal": ["cx"]}, "tiny has noise for cx on any qubits and lists it as ideal"),
        ({"ideal": [("cx", (0, 1))]}, r"noise for cx on \(0, 1\) and lists it as ideal: leave"),
        ({"readout": [READ, READ]}, "tiny has two confusions for 0: give one"),
        (
            {"readout": [Confusion((), np.eye(2)), Confusion((), np.eye(2))]},
            "two confusions for any qubit",
        ),
    ],
)
def test_what_is_no_model_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**changes)


def test_what_is_no_noise_is_refused() -> None:
    with pytest.raises(TypeError, match="the noise of x on any qubits is a float: give a Channel"):
        make_model(gates={("x", ()): [0.1]})


def test_scaling_too_far_names_the_gate() -> None:
    with pytest.raises(ValueError, match=r"cx on \(0, 1\) of tiny: Pauli channel at strength 11"):
        make_model().scale(11)
    with pytest.raises(ValueError, match="readout of any qubit at strength 6: it would be wrong"):
        make_model().scale(6, readout=True)
    with pytest.raises(ValueError, match="strength is -1"):
        make_model().scale(-1)


def test_scaling_too_far_can_be_clipped() -> None:
    model = make_model().scale(11, clip=True)
    assert model.gates["x", ()][0].channel == Channel.pauli({"X": 1.0})
    assert make_model().scale(2, clip=True) == make_model().scale(2)
    with pytest.raises(ValueError, match="readout of any qubit at strength 6: it would be wrong"):
        make_model().scale(6, readout=True, clip=True)
