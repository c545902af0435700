import numpy as np
import pytest

from nisqkit.noise.channel_checks import check_ptm, clean_probabilities, letters, width_of


def test_letters_and_widths() -> None:
    assert [letters(j, 1) for j in range(4)] == ["I", "X", "Y", "Z"]
    assert letters(2 + 4 * 0 + 16 * 3, 3) == "ZIY"
    assert width_of(np.eye(4), "a matrix", 2) == 2
    assert width_of(np.eye(16), "a matrix", 4) == 2
    for shape in ((0, 0), (1, 1), (2, 4), (2,), (6, 6)):
        with pytest.raises(ValueError, match=r"a matrix of shape .*side 2\*\*k for k qubits"):
            width_of(np.ones(shape), "a matrix", 2)


def test_rounding_is_cleaned_and_no_more() -> None:
    assert clean_probabilities((1.0, -1e-11, 0.0, 1e-11), 1) == (1.0, 0.0, 0.0, 1e-11)
    with pytest.raises(ValueError, match="would have Y with probability -1e-09"):
        clean_probabilities((1.0, 0.0, -1e-9, 1e-9), 1)
    with pytest.raises(ValueError, match=r"sum to 1.1, which is not 1"):
        clean_probabilities((1.0, 0.1, 0.0, 0.0), 1)


def test_maps_on_the_border_are_channels() -> None:
    check_ptm(np.diag([1.0, -1 / 3, -1 / 3, -1 / 3]), 1)  # the largest depolarising
    with pytest.raises(ValueError, match=r"smallest eigenvalue of its Choi matrix is -0.05"):
        check_ptm(np.diag([1.0, -1.1 / 3, -1.1 / 3, -1.1 / 3]), 1)
