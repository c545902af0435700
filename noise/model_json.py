"""Noise models as JSON text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .channels import Channel
from .confusion import Confusion
from .device import Device
from .model import Noise, NoiseModel
from .schedule import Idle, Use

_FORMAT = {"format": "nisqkit.noise_model", "version": 1}
_FIELDS = ("name", "gates", "ideal", "readout", "idle", "device", "kind", "date")


def to_json(model: NoiseModel) -> str:
    """The model as JSON text, with the version of the format in it.

    Channels are written with their kinds and parameters, so that `from_json` gives an equal model.
    """
    record: dict[str, Any] = {
        "name": model.name,
        "gates": [
            [name, qubits, [_noise_record(noise) for noise in noises]]
            for (name, qubits), noises in model.gates.items()
        ],
        "ideal": sorted(model.ideal, key=str),
        "readout": [[c.qubits, c.matrix] for c in model.readout],
        "idle": model.idle and _idle_record(model.idle),
        "device": model.device and json.loads(model.device.to_json()),
        "kind": model.kind,
        "date": model.date and model.date.isoformat(),
    }
    return json.dumps(_FORMAT | record, allow_nan=False)


def from_json(text: str) -> NoiseModel:
    """Read a model from the text of `to_json`.

    Raises:
        ValueError: The text is no noise model, misses a field, has another format version, or a
            value is out of range.

    Example:
        >>> model = NoiseModel("flips", {("x", ()): Channel.pauli({"X": 0.1})}, ["rz", "measure"])
        >>> from_json(to_json(model)) == model
        True
    """
    record = json.loads(text)
    if not isinstance(record, Mapping) or record.get("format") != _FORMAT["format"]:
        raise ValueError(f"not a noise model: expected JSON with {_FORMAT}, got {text[:60]!r}")
    if record.get("version") != _FORMAT["version"]:
        raise ValueError(
            f"noise model in format version {record.get('version')!r}, this nisqkit reads version "
            f"{_FORMAT['version']}: write the file again with this version"
        )
    values = {key: value for key, value in record.items() if key not in _FORMAT}
    if wrong := values.keys() ^ set(_FIELDS):
        raise ValueError(
            f"noise model with missing or unknown fields {sorted(wrong)}: it has exactly the "
            f"fields {list(_FIELDS)}"
        )
    gates: dict[Use, list[Noise]] = {
        (name, tuple(qubits)): [_noise(*noise) for noise in noises]
        for name, qubits, noises in values["gates"]
    }
    return NoiseModel(
        values["name"],
        gates,
        [e if isinstance(e, str) else (e[0], tuple(e[1])) for e in values["ideal"]],
        [Confusion(tuple(qubits), matrix) for qubits, matrix in values["readout"]],
        values["idle"] and _idle(values["idle"]),
        values["device"] and Device.from_json(json.dumps(values["device"])),
        values["kind"],
        values["date"] and datetime.fromisoformat(values["date"]),
    )


def _noise_record(noise: Noise) -> list[Any]:
    channel = noise.channel
    return [channel.num_qubits, channel.kind, channel.parameters, noise.on, noise.cause]


def _noise(num_qubits: int, kind: str, parameters: list[float], on: list[int], cause: str) -> Noise:
    return Noise(Channel(num_qubits, kind, tuple(parameters)), tuple(on), cause)


def _idle_record(idle: Idle) -> dict[str, Any]:
    times = [pair and ["inf" if t == math.inf else t for t in pair] for pair in idle.times]
    return {
        "times": times,  # JSON has no infinity
        "durations": [[*use, seconds] for use, seconds in idle.durations.items()],
        "strength": idle.strength,
        "twirled": idle.twirled,
    }


def _idle(record: Mapping[str, Any]) -> Idle:
    times = tuple(pair and (float(pair[0]), float(pair[1])) for pair in record["times"])
    durations = {(name, tuple(qubits)): s for name, qubits, s in record["durations"]}
    return Idle(times, durations, record["strength"], record["twirled"])
