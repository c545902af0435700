"""Branches of channels: their mean is the channel."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import unitary_group

from nisqkit.hardware_backends.native.trajectory_branches import Branches, branches, conditions
from nisqkit.noise.channels import Channel


def random_kraus(num_qubits: int, seed: int, count: int = 3, strength: float = 1.0) -> Channel:
    """From the columns of a random unitary; weak if it is near the identity."""
    dim = 2**num_qubits
    unitary = unitary_group.rvs(count * dim, random_state=seed)
    mixed = Channel.kraus([unitary[k * dim : (k + 1) * dim, :dim] for k in range(count)])
    ptm = (1 - strength) * np.eye(4**num_qubits) + strength * mixed.ptm
    return Channel.from_ptm(ptm)


def whole(found: Branches) -> np.ndarray:
    """The operators on all qubits, first qubit least significant."""
    if len(found.operators) == 1:
        return found.operators[0]
    return np.array([np.kron(b, a) for a, b in zip(*found.operators, strict=True)])


CHANNELS = {
    "pauli": (Channel.pauli({"X": 0.1, "Y": 0.02, "Z": 0.3}), 1),
    "pauli on two": (Channel.pauli({"XI": 0.1, "YZ": 0.02, "II": 0.88}), 2),
    "mostly an error": (Channel.pauli({"X": 0.9}), 1),
    "depolarizing": (Channel.depolarizing(0.2, 2), 2),
    "nothing left": (Channel.depolarizing(1.0), 1),
    "relaxation": (Channel.relaxation(0.1), 1),
    "full decay": (Channel.relaxation(1.0), 1),
    "dephasing": (Channel.dephasing(0.2), 1),
    "none": (Channel.depolarizing(0.0), 1),
    "general": (random_kraus(1, 0), 1),
    "general on two": (random_kraus(2, 1), 1),
    "weak": (random_kraus(2, 2, strength=1e-3), 1),
    "decay on two": (Channel.relaxation(0.1).tensor(Channel.relaxation(0.3)), 2),
}


@pytest.mark.parametrize(("channel", "parts"), CHANNELS.values(), ids=CHANNELS)
def test_the_mean_over_branches_is_the_channel(channel: Channel, parts: int) -> None:
    found = branches(channel)
    assert len(found.operators) == parts
    assert_allclose(found.probabilities.sum(), 1, atol=1e-14)
    assert found.probabilities[0] == found.probabilities.max()
    assert_allclose(found.error, found.probabilities[1:].sum())
    operators = whole(found)
    norms = np.einsum("bij,bij->b", operators, operators.conj()).real / operators.shape[1]
    assert_allclose(norms, 1, atol=1e-12)  # the probability is that on the mixed state
    weighted = operators * np.sqrt(found.probabilities)[:, None, None]
    assert_allclose(Channel.kraus(list(weighted)).ptm, channel.ptm, atol=1e-9)


def test_what_is_proportional_to_the_identity_is_merged() -> None:
    channel = Channel.dephasing(0.2).compose(Channel.relaxation(0.0))
    assert branches(channel).probabilities.tolist() == pytest.approx([0.9, 0.1])
    assert (branches(channel).operators[0][0] == np.eye(2)).all()


def test_relaxation_is_drawn_from_the_mixed_state() -> None:
    found = branches(Channel.relaxation(0.1))
    assert_allclose(found.probabilities, [0.95, 0.05])
    assert_allclose(found.operators[0][0], np.diag([1, np.sqrt(0.9)]) / np.sqrt(0.95))
    assert_allclose(found.operators[0][1], np.sqrt([[0, 2], [0, 0]]))


def test_conditions_are_of_the_matrices() -> None:
    matrices = np.array([random_kraus(2, 5).kraus_operators[0], np.eye(4, dtype=complex)])
    assert_allclose(conditions(matrices), [np.linalg.cond(m) for m in matrices])
    assert conditions(branches(Channel.depolarizing(0.1)).operators[0]).tolist() == [1.0] * 4
    assert conditions(branches(Channel.relaxation(0.1)).operators[0])[1] == np.inf


def test_a_channel_on_three_qubits_is_refused() -> None:
    with pytest.raises(ValueError, match="acts on 3 qubits, but trajectories take channels on one"):
        branches(Channel.depolarizing(0.1, 3))
