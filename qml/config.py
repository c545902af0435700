"""`TrainConfig`: everything that decides a training run, as one frozen, JSON-ready value."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nisqkit.circuits.names import unknown
from nisqkit.circuits.subcircuit_text import subcircuit_from_text
from nisqkit.qml.angle_pruning import AnglePruning
from nisqkit.qml.noise_schedule import SCHEDULES as NOISE_SCHEDULES

NOISES = ("exact", "gates", "outcomes", "angles")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULES = ("constant", "cosine")
KEEP = ("best", "last")
NOISE_AWARE: Mapping[str, Any] = {"nodes": 2, "norm": True, "noise": "exact"}
"""What ``nisqkit train --noise-aware`` stands for: what helps, see docs/noise_aware_training.md."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, on what, and how. Two runs with equal configs end with equal weights.

    Attributes:
        task: a task of `nisqkit.qml.datasets.available_datasets()`; not used when `data` is given.
        data: path of an ``.npz`` file with your own data, see `nisqkit.qml.datasets.load_npz`.
            Kept as an absolute path, as are `data_dir` and the file of `model`, so that a run can
            be used from any folder.
        data_dir: folder with the task's files, for tasks that need some.
        circuit: the ansatz, one of `nisqkit.qml.models.CIRCUITS`.
        depth: the ansatz's depth in each node: blocks or layers.
        qubits: number of qubits; None: as the encoder for this number of features has them.
        nodes: circuits one behind the other; see `nisqkit.qml.classifier`.
        norm: normalise the values between nodes (`PostMeasurementNorm`); in evaluation with the
            statistics of the validation split on the device at hand.
        quantize: round the values between nodes to this many levels (`PostMeasurementQuantize`).
        centroid_weight: weight of their distance to the levels in the loss.
        native: train the angles of the transpiled circuits (`native_layer`).
        subcircuit: a circuit that a search has found, as the text of its ``subcircuit.json``; then
            `circuit` and `depth` are not used.
        prune: share of the circuits' angles that training sets to zero; see `AnglePruning`.
        prune_grow: part of the other angles that each epoch exchanges with pruned ones.
        start: folder of a finished run of the same model, whose weights training begins with.
        model: ``"module:function"`` or ``"path/file.py:function"``, called with
            ``(num_features, num_classes)``, which returns your own `torch.nn.Module`; then
            `circuit`, `depth`, `qubits`, `nodes`, `norm`, `quantize` and `native` are not used.
        backend: the backend that trains, such as ``"native"`` or ``"aer"``. The quantum layers of
            your own model move to it, except that ``"native"`` leaves them where they are.
        devices: noisy devices to evaluate on at the end. With `noise`, or with ``backend="aer"``,
            there is one, and the model is also trained on it.
        noise: what is injected in training, from the noise of the device: ``"exact"``: the full
            noise, exactly (density matrices of the native engine; for more than 7 qubits means over
            random errors); ``"gates"``: random Pauli errors behind gates; ``"outcomes"`` and
            ``"angles"``: normal errors of measured values and of weights; see
            `nisqkit.qml.injection`. Validation is on the full noise. None: noise-free.
        noise_factor: the noise factor T, by which the injected noise is multiplied.
        noise_schedule: ``"constant"``, or over the epochs ``"linear"`` or ``"cosine-up"`` from 0 to
            T or ``"cosine-down"`` from T to 0.
        ideal_encoder: inject no noise before the first gate that is trained; with ``"exact"`` and
            ``"gates"``.
        layout: the device's qubit for each qubit of the circuit, for one device; None lets Qiskit
            choose.
        shots: measurements per circuit on devices, and in training on every backend but
            ``"native"``; None: exact expectation values.
        epochs: passes over the training split.
        batch_size: samples per step.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"`` or ``"rmsprop"``, as in `torch.optim`.
        lr: learning rate of the first epoch.
        schedule: ``"constant"``, or ``"cosine"``: epoch e of E uses lr (1 + cos(pi e / E)) / 2.
        warmup_epochs: before that, the learning rate rises linearly over this many epochs.
        weight_decay: as in the optimizer.
        teacher: folder of a finished run (or of its seeds), trained on the same split, whose
            noise-free outputs are learned along with the labels (`distillation_loss`).
        distill_weight: weight of the teacher in the loss, up to 1.
        temperature: at which both outputs are compared.
        patience: stop after this many epochs without a lower validation loss; None: never.
        keep: which weights the result has: ``"best"``, of the lowest validation loss, or
            ``"last"``.
        seed: of the split, the initial weights, the batches and the shots.
        threads: threads of torch's own operations (small tensors are fastest with one).
        checkpoint_every_steps: also write a checkpoint within an epoch after this many steps.

    Raises:
        ValueError: a value that cannot work or would change nothing, or an unknown name; says
            what is allowed.
        TypeError: `devices` is no list of names.

    Example:
        >>> config = TrainConfig(task="digits2", epochs=5)
        >>> TrainConfig.from_json(config.to_json()) == config
        True
    """

    task: str = "digits4"
    data: str | None = None
    data_dir: str | None = None
    circuit: str = "u3-cu3"
    depth: int = 4
    qubits: int | None = None
    nodes: int = 1
    norm: bool = False
    quantize: int | None = None
    centroid_weight: float = 0.1
    native: bool = False
    subcircuit: str | None = None
    prune: float | None = None
    prune_grow: float | None = None
    start: str | None = None
    model: str | None = None
    backend: str = "native"
    devices: tuple[str, ...] = ()
    noise: str | None = None
    noise_factor: float = 1.0
    noise_schedule: str = "constant"
    ideal_encoder: bool = False
    layout: tuple[int, ...] | None = None
    shots: int | None = None
    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float = 0.02
    schedule: str = "cosine"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    teacher: str | None = None
    distill_weight: float = 0.5
    temperature: float = 2.0
    patience: int | None = None
    keep: str = "best"
    seed: int = 0
    threads: int = 1
    checkpoint_every_steps: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.devices, str) or not all(isinstance(d, str) for d in self.devices):
            raise TypeError(
                f"devices={self.devices!r} must be a list of names, such as ['fake_santiago']"
            )
        absolute = {
            "data": self.data and os.path.abspath(self.data),
            "data_dir": self.data_dir and os.path.abspath(self.data_dir),
            "model": self.model and _with_absolute_file(self.model),
            "devices": tuple(self.devices),
            "teacher": self.teacher and os.path.abspath(self.teacher),
            "start": self.start and os.path.abspath(self.start),
            "layout": None if self.layout is None else tuple(self.layout),
        }
        for name, value in absolute.items():
            object.__setattr__(self, name, value)
        for name in ("depth", "nodes", "epochs", "batch_size", "threads"):
            _check_count(name, getattr(self, name))
        for name in ("qubits", "shots", "patience", "checkpoint_every_steps"):
            if (value := getattr(self, name)) is not None:
                _check_count(name, value)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r}: a seed is 0 or a positive integer")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr={self.lr!r} must be a positive number, such as 0.02")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay={self.weight_decay!r} must be 0 or a positive number")
        for name in ("noise_factor", "centroid_weight"):
            if not (math.isfinite(value := getattr(self, name)) and value >= 0):
                raise ValueError(f"{name}={value!r} must be 0 or a positive number")
        if not 0 < self.distill_weight <= 1:
            raise ValueError(f"distill_weight={self.distill_weight!r} must be above 0, up to 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature={self.temperature!r} must be a positive number")
        warmup = self.warmup_epochs
        if not isinstance(warmup, int) or not 0 <= warmup < self.epochs:
            raise ValueError(
                f"warmup_epochs={warmup!r} must be a whole number of 0 or more, and less than "
                f"epochs={self.epochs}"
            )
        if self.noise_schedule != "constant" and self.epochs == 1:
            raise ValueError(
                f"noise_schedule={self.noise_schedule!r} changes the noise from the first epoch to "
                "the last, and there is one: train longer, or leave noise_schedule out"
            )
        for name, allowed in (("keep", KEEP), ("noise_schedule", NOISE_SCHEDULES)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(unknown(name, value, allowed))
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", self.optimizer, OPTIMIZERS))
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown("schedule", self.schedule, SCHEDULES))
        if repeated := {d for d in self.devices if self.devices.count(d) > 1}:
            raise ValueError(f"devices lists {', '.join(sorted(repeated))} twice; name each once")
        if self.quantize is not None and self.quantize < 2:
            raise ValueError(f"quantize={self.quantize!r} must be at least 2 levels, or None")
        if self.prune is not None:
            AnglePruning(self.prune, grow=self.prune_grow)  # raises for values that cannot work
        if self.subcircuit is not None:
            subcircuit_from_text(self.subcircuit)
        if self.noise is not None:
            if self.noise not in NOISES:
                raise ValueError(unknown("noise", self.noise, NOISES))
            if self.backend != "native" or not self.devices:
                raise ValueError(
                    f"noise={self.noise!r} trains on a device with the native engine, but "
                    f"backend={self.backend!r} and devices={list(self.devices)}: name a device "
                    "(--device NAME), and leave out the backend"
                )
        if self.backend == "aer" or self.noise is not None or self.layout is not None:
            self._check_one_device()
        self._check_idle()
        if self.shots is not None and self.backend == "native" and not self.devices:
            raise ValueError(
                f"shots={self.shots} would change nothing: backend='native' trains with exact "
                "values, and there is no device to evaluate on. Name a device (--device NAME), "
                "choose another backend, or leave out shots"
            )

    def _check_idle(self) -> None:
        """Refuse what would change nothing."""
        default = {f.name: f.default for f in fields(self)}
        for name in ("nodes", "norm", "quantize", "native", "subcircuit"):
            if self.model is not None and (value := getattr(self, name)) != default[name]:
                raise ValueError(
                    f"{name}={value!r} would change nothing beside model, which builds its own "
                    "network: leave out one of them"
                )
        for needed, there, idle in (
            ("noise", self.noise is not None, ("noise_factor", "noise_schedule")),
            ("noise in gates", self.noise in ("exact", "gates"), ("ideal_encoder",)),
            ("a device to train on", self.training_device is not None, ("native",)),
            ("a device", bool(self.devices), ("layout",)),
            ("teacher", self.teacher is not None, ("distill_weight", "temperature")),
            ("nodes=2 or more", self.nodes > 1, ("norm", "quantize")),
            ("quantize", self.quantize or self.model, ("centroid_weight",)),
            ("prune", self.prune is not None, ("prune_grow",)),
        ):
            for name in idle:
                if not there and (value := getattr(self, name)) != default[name]:
                    raise ValueError(
                        f"{name}={value!r} would change nothing without {needed}: give that, or "
                        f"leave {name} out"
                    )

        if self.prune is not None and self.keep == "best":
            raise ValueError(
                f"prune={self.prune!r} ends with the smallest circuit, and keep='best' could take "
                "an earlier one: give keep='last'"
            )

    def _check_one_device(self) -> None:
        if len(self.devices) > 1:
            how = "backend='aer' trains on"
            if self.noise is not None:
                how = f"noise={self.noise!r} trains on"
            elif self.backend != "aer":
                how = f"layout={list(self.layout or ())} is for"
            raise ValueError(
                f"{how} one device, but {len(self.devices)} are given "
                f"({', '.join(self.devices)}); train on one, then use `nisqkit evaluate` with the "
                "others"
            )

    @property
    def task_name(self) -> str:
        """The task, or the data file's name without its ending, for titles and folder names."""
        if self.data is None:
            return self.task
        return self.data.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".npz")

    @property
    def model_name(self) -> str:
        """The ansatz, or your own model without the folders of its file, for titles and tables.

        Example:
            >>> TrainConfig(model="folder/own.py:build").model_name
            'own.py:build'
        """
        if self.model is not None:
            return os.path.basename(self.model)
        if self.subcircuit is not None:
            return f"sub-circuit of {subcircuit_from_text(self.subcircuit)[0].name}"
        return self.circuit

    @property
    def layouts(self) -> dict[str, tuple[int, ...]]:
        """The layout by the name of the device that it is on."""
        return {} if self.layout is None else {self.devices[0]: self.layout}

    @property
    def training_device(self) -> str | None:
        """The noisy device that the model is trained on, if any."""
        noisy = self.noise is not None or self.backend == "aer"
        return self.devices[0] if noisy and self.devices else None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        layout = None if self.layout is None else list(self.layout)
        return asdict(self) | {"devices": list(self.devices), "layout": layout}

    def to_json(self) -> str:
        """All fields as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build a config from what `to_dict` gave; missing fields take their defaults.

        Raises:
            ValueError: a field that a config does not have, or a value that cannot work.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(unknown("field of TrainConfig", name, names))
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Build a config from what `to_json` gave.

        Raises:
            ValueError: not JSON of an object, or as in `from_dict`.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a TrainConfig is a JSON object, got {text[:40]!r}")
        return cls.from_dict(values)

    def differences(self, other: TrainConfig) -> list[str]:
        """Name the fields in which two configs differ, with both values.

        Example:
            >>> TrainConfig(lr=0.1).differences(TrainConfig(lr=0.2))
            ['lr (0.1, not 0.2)']
        """
        mine, others = self.to_dict(), other.to_dict()
        return [f"{k} ({mine[k]!r}, not {others[k]!r})" for k in mine if mine[k] != others[k]]


def _with_absolute_file(model: str) -> str:
    where, _, function = model.rpartition(":")
    return f"{os.path.abspath(where)}:{function}" if where.endswith(".py") else model


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
