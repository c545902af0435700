import math
from typing import Any

import numpy as np
import pytest

from nisqkit.noise import Confusion

PAIR = np.array([[0.9, 0.05, 0, 0.1], [0.1, 0.9, 0, 0], [0, 0.05, 0.8, 0], [0, 0, 0.2, 0.9]])


def test_flips_of_one_qubit() -> None:
    confusion = Confusion.flips(3, read_1_after_0=0.1, read_0_after_1=0.3)
    assert confusion.qubits == (3,)
    assert np.allclose(confusion.array @ [1, 0], [0.9, 0.1])
    assert np.allclose(confusion.array @ [0, 1], [0.3, 0.7])
    assert confusion.mean_error == pytest.approx(0.2)
    assert confusion.what == "readout of 3"
    assert confusion.moved([5]).what == "readout of 5"
    assert Confusion.flips(None, read_1_after_0=0, read_0_after_1=0).what == "readout of any qubit"


def test_scaling() -> None:
    confusion = Confusion((4, 2), PAIR)
    for strength in (0.0, 0.5, 1.0, 2.0):
        matrix = confusion.scaled(strength).array
        wanted = strength * PAIR
        np.fill_diagonal(wanted, 1 - wanted.sum(axis=0) + wanted.diagonal())
        assert np.allclose(matrix, wanted, atol=1e-15)
    assert np.array_equal(confusion.scaled(0).array, np.eye(4))
    assert confusion.what == "readout of 4-2"
    assert hash(confusion) == hash(Confusion((4, 2), tuple(map(tuple, PAIR))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Confusion((0, 0), PAIR), "readout of 0-0 lists a qubit twice"),
        (lambda: Confusion((-1,), np.eye(2)), "lists a qubit twice or a negative one"),
        (lambda: Confusion((0,), PAIR), r"has 4 rows of \[4, 4, 4, 4\] entries: give 2 rows of 2"),
        (lambda: Confusion((0, 1), PAIR.T), "after preparing 0 sum to 1.05, not 1"),
        (
            lambda: Confusion.flips(0, read_1_after_0=1.5, read_0_after_1=0),
            "readout of 0 has probability -0.5 to read 0 after preparing 0: give numbers between",
        ),
        (
            lambda: Confusion.flips(0, read_1_after_0=math.nan, read_0_after_1=0),
            "probability nan to read 0",
        ),
        (
            lambda: Confusion((0, 1), PAIR).scaled(6),
            "readout of 0-1 at strength 6: it would be wrong with probability 1.2 after",
        ),
        (lambda: Confusion((0, 1), PAIR).scaled(-1), "strength is -1: give a finite number"),
    ],
)
def test_what_is_no_confusion_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
