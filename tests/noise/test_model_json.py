import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from qiskit.quantum_info import SuperOp, random_quantum_channel

from nisqkit.noise import Channel, Confusion, Device, Idle, Noise, NoiseModel

MODEL = NoiseModel(
    "mine",
    {
        ("cx", (0, 1)): [
            Channel.superop(SuperOp(random_quantum_channel(4, 4, seed=1)).data),
            Noise(Channel.relaxation(0.1), (1,), "T1"),
        ],
        ("cx", ()): Channel.depolarizing(1 / 3, 2),
        ("x", (2,)): [Channel.pauli({"X": 0.1}), Channel.dephasing(0.7)],
    },
    ["rz", ("x", (3,)), "measure"],
    [Confusion((1, 0), np.eye(4)), Confusion.flips(None, read_1_after_0=0.1, read_0_after_1=0.3)],
    Idle(((1e-4, math.inf), None), {("x", (2,)): 1e-8}, 0.5, twirled=True),
    date=datetime(2026, 1, 31, 12, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        NoiseModel.from_device(Device.load("fake_yorktown"), idle=True),
        NoiseModel.from_device(Device.load("fake_yorktown"), "pauli").scale(0.3, readout=True),
        NoiseModel("empty", {}),
    ],
    ids=lambda model: model.name,
)
def test_round_trip(model: NoiseModel) -> None:
    text = model.to_json()
    again = NoiseModel.from_json(text)
    assert again == model
    assert repr(again) == repr(model)
    assert "Infinity" not in text and "NaN" not in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nisqkit.noise_model", "other", "not a noise model: expected JSON with"),
        ('"version": 1', '"version": 99', "format version 99, this nisqkit reads version 1"),
        ('"ideal"', '"exact"', r"missing or unknown fields \['exact', 'ideal'\]"),
        ("0.7", "1.7", "dephasing channel with lam = 1.7"),
        ("0.7", "NaN", "dephasing channel has the parameter nan"),
        ("0.3", "0.4", "readout of any qubit"),
    ],
)
def test_text_that_is_no_model_is_refused(old: str, new: str, message: str) -> None:
    text = MODEL.to_json()
    assert old in text
    with pytest.raises(ValueError, match=message):
        NoiseModel.from_json(text.replace(old, new))
    with pytest.raises(ValueError, match="not a noise model"):
        NoiseModel.from_json(json.dumps([1, 2]))
