import math

import numpy as np
import pytest
from qiskit.quantum_info import PTM
from qiskit_aer.noise import thermal_relaxation_error

from nisqkit.noise.thermal import thermal_channels


@pytest.mark.parametrize(
    ("t1", "t2"),
    [(50e-6, 30e-6), (50e-6, 80e-6), (50e-6, 100e-6), (math.inf, 30e-6), (50e-6, 1e-7)],
)
def test_both_channels_are_aers_thermal_relaxation(t1: float, t2: float) -> None:
    total = np.eye(4)
    for channel in thermal_channels(400e-9, t1, t2):
        if channel is not None:
            total = channel.ptm @ total
    wanted = thermal_relaxation_error(t1, t2, 400e-9).to_quantumchannel()
    assert np.allclose(total, PTM(wanted).data, atol=1e-14)


def test_what_does_nothing_is_left_out() -> None:
    assert thermal_channels(1e-6, math.inf, math.inf) == (None, None)
    assert thermal_channels(0.0, 50e-6, 50e-6) == (None, None)
    relaxed, dephased = thermal_channels(1e-6, 50e-6, 300e-6)  # T2 above 2 T1
    assert relaxed is not None and dephased is None
    assert relaxed.parameters[0] == pytest.approx(-math.expm1(-0.02), rel=1e-14)
