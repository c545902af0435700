import math
import pickle
from typing import Any

import numpy as np
import pytest
from qiskit.quantum_info import (
    PTM,
    Kraus,
    Pauli,
    SuperOp,
    average_gate_fidelity,
    random_quantum_channel,
    random_unitary,
)
from qiskit_aer.noise import (
    amplitude_damping_error,
    depolarizing_error,
    pauli_error,
    phase_damping_error,
)
from scipy.linalg import expm

from nisqkit.noise import Channel
from nisqkit.noise.channels import KINDS, total_ptm

GENERAL = Channel.superop(SuperOp(random_quantum_channel(4, 4, rank=4, seed=3)).data)
# close to the identity, so that it can be turned up
MILD = Channel.from_ptm(0.9 * np.eye(16) + 0.1 * GENERAL.ptm)
CHANNELS = [
    Channel.pauli({"X": 0.1, "Y": 0.02, "Z": 0.05}),
    Channel.pauli({"XI": 0.1, "ZY": 0.07, "IZ": 0.05}),
    Channel.depolarizing(0.2),
    Channel.depolarizing(0.3, num_qubits=2),
    Channel.relaxation(0.15),
    Channel.dephasing(0.25),
    MILD,
]


def test_channels_agree_with_aer() -> None:
    pairs = [
        (Channel.depolarizing(0.12), depolarizing_error(0.12, 1)),
        (Channel.depolarizing(0.12, 2), depolarizing_error(0.12, 2)),
        (Channel.relaxation(0.3), amplitude_damping_error(0.3)),
        # coherences times sqrt(1 - lambda)
        (Channel.dephasing(1 - math.sqrt(0.6)), phase_damping_error(0.4)),
        (
            Channel.pauli({"ZX": 0.1, "IY": 0.2}),
            pauli_error([("ZX", 0.1), ("IY", 0.2), ("II", 0.7)]),
        ),
    ]
    for ours, theirs in pairs:
        assert np.allclose(ours.ptm, PTM(theirs.to_quantumchannel()).data, atol=1e-14)


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_kraus_operators_make_the_channel(channel: Channel) -> None:
    again = SuperOp(Kraus([np.array(k) for k in channel.kraus_operators]))
    assert np.allclose(PTM(again).data, channel.ptm, atol=1e-13)
    assert np.allclose(Channel.kraus(channel.kraus_operators).ptm, channel.ptm, atol=1e-13)
    assert np.allclose(Channel.superop(again.data).ptm, channel.ptm, atol=1e-13)
    assert channel.infidelity == pytest.approx(1 - average_gate_fidelity(again), abs=1e-12)


def test_all_kinds_are_tested() -> None:
    assert {channel.kind for channel in CHANNELS} == set(KINDS)


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_strength_0_is_exactly_the_identity(channel: Channel) -> None:
    assert np.array_equal(channel.scaled(0).ptm, np.eye(4**channel.num_qubits))
    assert channel.scaled(0).is_identity
    assert not channel.is_identity
    assert channel.scaled(1) is channel
    kraus = channel.scaled(0).kraus_operators
    assert np.allclose(kraus[0], np.eye(2**channel.num_qubits), atol=1e-12)
    assert all(np.abs(k).max() < 1e-7 for k in kraus[1:])


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.7])
def test_slopes_are_finite_differences(channel: Channel, strength: float) -> None:
    step = 1e-5
    slope = channel.ptm_slope_at(strength)
    if strength > 0:
        wanted = channel.ptm_at(strength + step) - channel.ptm_at(strength - step)
        assert np.allclose(slope, wanted / (2 * step), atol=1e-8)
    else:  # one-sided, of second order
        first, second = channel.ptm_at(step), channel.ptm_at(2 * step)
        wanted = (4 * first - second - 3 * channel.ptm_at(0)) / (2 * step)
        assert np.allclose(slope, wanted, atol=1e-8)
    assert np.array_equal(channel.ptm_slope(), channel.ptm_slope_at(1))


@pytest.mark.parametrize("channel", [c for c in CHANNELS if c.kind in KINDS[1:4]], ids=repr)
def test_rates_are_generators_of_a_semigroup(channel: Channel) -> None:
    generator = channel.ptm_slope_at(0)
    for strength in (0.3, 1.0, 4.0):
        assert np.allclose(channel.ptm_at(strength), expm(strength * generator), atol=1e-12)
    slope = channel.scaled(2.5).ptm_slope() / 2.5
    assert np.allclose(slope, channel.ptm_slope_at(2.5), atol=1e-12)


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_the_twirl_is_the_mean_over_all_paulis(channel: Channel) -> None:
    k = channel.num_qubits
    given = SuperOp(Kraus([np.array(m) for m in channel.kraus_operators]))
    mean = np.zeros((4**k, 4**k), dtype=complex)
    for z in range(2**k):
        for x in range(2**k):
            bits = [[bool(v >> q & 1) for q in range(k)] for v in (z, x)]
            pauli = SuperOp(Pauli((np.array(bits[0]), np.array(bits[1]))))
            mean += (pauli @ given @ pauli).data / 4**k
    twirled = channel.twirled()
    assert twirled.kind == "pauli"
    assert np.allclose(twirled.ptm, PTM(SuperOp(mean)).data, atol=1e-13)


def test_small_errors_keep_their_digits() -> None:
    gamma = 1e-9
    twirled = Channel.relaxation(gamma).twirled()
    assert twirled.parameters[1] == pytest.approx(gamma / 4, rel=1e-6)
    assert Channel.relaxation(gamma).scaled(3).parameters[0] == pytest.approx(3e-9, rel=1e-8)


def test_composing_and_tensoring_agree_with_qiskit() -> None:
    a, b = Channel.relaxation(0.2), Channel.kraus([random_unitary(2, seed=1).data])
    first, second = (SuperOp(Kraus([np.array(m) for m in c.kraus_operators])) for c in (a, b))
    assert np.allclose(a.compose(b).ptm, PTM(first.compose(second)).data, atol=1e-13)
    assert np.allclose(a.tensor(b).ptm, PTM(second.tensor(first)).data, atol=1e-13)
    wide = SuperOp(np.eye(64)).compose(first, [2]).compose(second, [0])
    assert np.allclose(total_ptm([(a, (2,)), (b, (0,))], 3), PTM(wide).data, atol=1e-12)


def test_pauli_channels_stay_pauli_channels() -> None:
    flip = Channel.pauli({"X": 0.5})
    assert flip.compose(Channel.dephasing(0.1)).kind == "pauli"
    assert Channel.kraus([np.eye(2)]) == Channel.pauli({"I": 1})
    assert flip.twirled() is flip
    for channel in (Channel.depolarizing(0.2, 2), Channel.dephasing(0.3)):
        mixture = channel.pauli_probabilities
        assert mixture is not None
        again = Channel(channel.num_qubits, "pauli", tuple(mixture.tolist()))
        assert np.allclose(again.ptm, channel.ptm, atol=1e-15)
    assert Channel.relaxation(0.1).pauli_probabilities is None


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_channels_are_values(channel: Channel) -> None:
    _ = channel.ptm, channel.kraus_operators
    again = pickle.loads(pickle.dumps(channel))
    assert again == channel and hash(again) == hash(channel)
    assert channel != channel.scaled(0.5)
    with pytest.raises(ValueError, match="read-only"):
        channel.ptm[0, 0] = 2


def test_reprs() -> None:
    assert repr(Channel.depolarizing(0.1, 2)) == "Channel.depolarizing(0.1, 2)"
    assert repr(Channel.pauli({"ZX": 0.25})) == "Channel.pauli({'ZX': 0.25})"
    assert repr(MILD).startswith("Channel.from_ptm(<2 qubits, infidelity 0.0")


def test_a_complete_depolarising_channel() -> None:
    complete = Channel.depolarizing(1.0)
    assert complete.scaled(2) is complete
    assert complete.scaled(0).is_identity
    most = Channel.depolarizing(4 / 3)
    assert np.allclose(most.kraus_operators[0], Pauli("X").to_matrix() / math.sqrt(3))
    assert len(most.kraus_operators) == 3  # the identity has probability 0
    with pytest.raises(ValueError, match=r"p = 1.33333, above 1, has no strength 2: only 0 and 1"):
        most.scaled(2)


NAN = math.nan
EYE = np.eye(2)
TRANSPOSE = np.diag([1.0, 1.0, -1.0, 1.0])  # positive, but not completely


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Channel.depolarizing(-0.1), "depolarizing channel with p = -0.1: .* 0 and 1.33"),
        (lambda: Channel.depolarizing(1.2, 2), r"p = 1.2: give a number between 0 and 1.0666"),
        (lambda: Channel.relaxation(1.1), "relaxation channel with gamma = 1.1: .* 0 and 1"),
        (lambda: Channel.dephasing(-1e-3), "dephasing channel with lam = -0.001"),
        (lambda: Channel.relaxation(NAN), "relaxation channel has the parameter nan: give finite"),
        (lambda: Channel.pauli({"X": -0.1}), "would have X with probability -0.1: give prob"),
        (lambda: Channel.pauli({"X": 0.7, "Y": 0.5}), "would have I with probability -0.2"),
        (lambda: Channel.pauli({"I": 0.7, "Y": 0.5}), "a Pauli channel sum to 1.2, which is not 1"),
        (lambda: Channel.pauli({"X": NAN}), "has the parameter nan"),
        (lambda: Channel.pauli({"XA": 0.1}), "'XA' is not a Pauli string: use the letters"),
        (lambda: Channel.pauli({"X": 0.1, "XX": 0.1}), r"strings of one length .*'X', 'XX'"),
        (lambda: Channel.pauli({}), "strings of one length"),
        (lambda: Channel.kraus([]), "at least one Kraus operator"),
        (lambda: Channel.kraus([EYE, np.eye(4)]), r"have the shapes \(2, 2\) and \(4, 4\)"),
        (lambda: Channel.kraus([EYE, 0.1 * EYE]), "K differs from 1 by 0.01; scale them"),
        (lambda: Channel.kraus([np.eye(3)]), r"a Kraus operator of shape \(3, 3\): .* side 2\*\*k"),
        (lambda: Channel.superop(EYE), r"a superoperator of shape \(2, 2\): .* side 4\*\*k"),
        (lambda: Channel.superop(1j * np.eye(4)), "has an imaginary part of 1"),
        (lambda: Channel.superop(np.diag([1, 1, 1, NAN])), "entries that are no finite numbers"),
        (lambda: Channel.from_ptm(np.diag([0.9, 0, 0, 0])), "not trace preserving: .* by 0.1"),
        (
            lambda: Channel.from_ptm(TRANSPOSE),
            "not completely positive: the smallest eigenvalue of its Choi matrix is -1",
        ),
        (lambda: Channel(1, "thermal", (0.1,)), "kind is one of pauli, .*, not 'thermal'"),
        (lambda: Channel(0, "pauli", (1.0,)), "acts on 1 qubit or more, not 0"),
        (lambda: Channel(2, "pauli", (1.0,)), "on 2 qubits has 16 parameters, not 1"),
        (lambda: Channel(2, "relaxation", (0.1,)), "relaxation channel acts on 1 qubit, not 2"),
        (lambda: EXAMPLE.scaled(-1), "strength is -1: give a finite number, 0 or more"),
        (lambda: EXAMPLE.scaled(NAN), "strength is nan"),
        (lambda: EXAMPLE.scaled(3), "at strength 3: .* sum to 1.2, .* use a strength up to 2.5"),
        (lambda: EXAMPLE.ptm_slope_at(3), "at strength 3"),
        (lambda: GENERAL.scaled(5), "channel at strength 5: .*not completely positive: .* is -"),
        (lambda: Channel.relaxation(1.0).ptm_slope(), r"relaxation\(1\) has an infinite rate"),
        (lambda: EXAMPLE.compose(GENERAL), "on 1 and 2 qubits cannot follow each other"),
    ],
)
def test_what_is_no_channel_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


EXAMPLE = Channel.pauli({"X": 0.4})


def test_probabilities_below_zero_by_rounding_are_clipped() -> None:
    channel = Channel(1, "pauli", (1 + 1e-12, -1e-12, 0.0, 0.0))
    assert channel.parameters[1] == 0.0
    assert Channel.pauli({"X": 0.1, "Y": 0.2}).scaled(1 / 0.3).parameters[0] == pytest.approx(0)


@pytest.mark.parametrize("strength", [0.5, 2.0, 2.6, 4.0, 1e9])
def test_clipped_pauli_errors_keep_their_relative_sizes(strength: float) -> None:
    channel = Channel.pauli({"IX": 0.2, "YZ": 0.1, "ZI": 0.1})
    found = np.array(channel.scaled(strength, clip=True).parameters)
    errors = np.array(channel.parameters[1:])
    total = min(1.0, strength * 0.4)
    np.testing.assert_allclose(found[1:], errors / errors.sum() * total, rtol=1e-12, atol=0)
    assert found[0] == pytest.approx(1 - total, abs=1e-15)


def test_clipping_is_for_pauli_probabilities_only() -> None:
    """Rates can be any size, and what is not completely positive stays an error."""
    for channel in (Channel.relaxation(0.3), Channel.dephasing(0.3), Channel.depolarizing(0.3, 2)):
        assert channel.scaled(7, clip=True) == channel.scaled(7)
    with pytest.raises(ValueError, match=r"channel at strength 5: .*not completely positive"):
        GENERAL.scaled(5, clip=True)
    with pytest.raises(ValueError, match="strength is -1"):
        EXAMPLE.scaled(-1, clip=True)
