"""Searching a sub-circuit and its qubits together, scored by the noise of the device.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.device_values import DeviceValues
from nisqkit.hardware_backends.native_blocks import NativeBlocks
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.datasets import Split
from nisqkit.qml.evaluation import evaluate
from nisqkit.qml.models import quantum_layers, with_backend
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.search import Budget, Choice, Group, Injection, Objective, Problem, Space

SCORES = ("loss", "loss/success", "ideal")
Candidate = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CoSearch:
    """What is searched: a sub-circuit of a SuperCircuit, and its qubits on a device.

    A candidate is ``{"circuit": ..., "layout": [...]}``. Weights are inherited from the
    SuperCircuit. Scores, of which lower is better:

    - ``"loss"``: the loss under the device's noise, exactly: native blocks and routing of
      `NativeBlocks`, readout included;
    - ``"loss/success"``: the loss without noise over the estimated success probability, for
      circuits too wide for the former;
    - ``"ideal"``: the loss without noise, which knows nothing of the device.

    Args:
        model: A trained SuperCircuit with a head that gives logits.
        split: Samples with labels, of the validation split; QuantumNAS takes 500.
        device: The device; its full noise.
        score: See above.
        layout: Fixed qubits; None: searched among all that work.

    Raises:
        ValueError: An unknown score, a layout that is none, or a device that is too small.
    """

    model: SuperCircuit
    split: Split
    device: Device
    score: str = "loss"
    layout: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(unknown("score", self.score, SCORES))
        features, labels = self.split.tensors()
        model, noise = self.model, NoiseModel.from_device(self.device)
        blocks = NativeBlocks(self.device)
        weights = model.layer.weights.detach()
        values = DeviceValues(
            model.layer.program,
            noise,
            features.to(weights.dtype),
            weights,
            model.layer.observables,
            blocks,
        )
        for name, value in {"blocks": blocks, "values": values, "labels": labels}.items():
            object.__setattr__(self, f"_{name}", value)

    _blocks: NativeBlocks = None  # type: ignore[assignment] # set in __post_init__
    _values: DeviceValues = None  # type: ignore[assignment]
    _labels: Tensor = None  # type: ignore[assignment]

    @property
    def space(self) -> Space:
        """All candidates."""
        n = self.model.design.num_qubits
        allowed = list(self.layout) if self.layout is not None else working_qubits(self.device)
        coupled = [list(edge) for edge in self.device.coupling if edge not in self.device.dead_edges]
        layout: Space
        if self.layout is None:
            layout = Injection(n, allowed=allowed, coupled=coupled)
        else:
            layout = Choice([allowed])
        return Group({"layout": layout, "circuit": self.model.design.space})

    def measure(self, candidate: Candidate) -> dict[str, float]:
        """Static metrics: weights, gates on the device, depth, duration, success probability."""
        program = self.model.program(candidate["circuit"])
        routed = self._blocks.route(program, candidate["layout"])
        parameters = self.model.design.num_weights(candidate["circuit"])
        return {"parameters": float(parameters)} | self._blocks.counts(routed)

    def evaluate(self, candidates: Sequence[Candidate]) -> list[dict[str, float]]:
        """Score, loss and accuracy of candidates."""
        found = []
        for candidate in candidates:
            if self.score == "loss":
                program = self.model.program(candidate["circuit"])
                routed = self._blocks.route(program, candidate["layout"])
                values = self._values.of_routed(routed, candidate["layout"])
                logits = self.model.head(values)
                share = 1.0
            else:
                with torch.no_grad():
                    logits = self.model.of(candidate["circuit"], self._values.inputs)
                success = self.measure(candidate)["success_probability"]
                share = max(success, 1e-5) if self.score == "loss/success" else 1.0
            loss = float(cross_entropy(logits.double(), self._labels))
            right = float((logits.argmax(dim=1) == self._labels).double().mean())
            found.append({"score": loss / share, "loss": loss, "accuracy": right})
        return found

    def problem(
        self,
        budgets: Sequence[Budget | str] = (),
        objectives: Sequence[Objective] = (Objective("score"),),
    ) -> Problem:
        """The search problem, with hard budgets on the metrics of `measure`."""
        return Problem(
            self.space,
            objectives,
            measure=self.measure,
            evaluate=self.evaluate,
            budgets=budgets,
        )

    def transpiled_loss(self, candidate: Candidate, model: nn.Module | None = None) -> float:
        """The loss under the device's noise of the circuit as Qiskit transpiles it.

        Args:
            candidate: Which one.
            model: A model of this circuit, such as a retrained one; None: with inherited weights.
        """
        chosen = model or self.model.extract(candidate["circuit"])
        noisy = with_backend(
            chosen, "native", noise=self.device, layout=candidate["layout"]
        )
        names = [str(k) for k in range(int(self._labels.max()) + 1)]
        return evaluate(noisy, self.split, names).loss


def working_qubits(device: Device) -> list[int]:
    """Qubits with a two-qubit gate that works and readout errors that are known.

    Example:
        >>> working_qubits(Device.load("fake_santiago"))
        [0, 1, 2, 3, 4]
    """
    alive = {q for edge in device.coupling if edge not in device.dead_edges for q in edge}
    return sorted(q for q in alive if device.readout[q] is not None)


def transpiled_counts(
    model: nn.Module, device: Device, layout: Sequence[int] | None = None
) -> dict[str, int]:
    """Gates of a model's circuits as Qiskit transpiles them, by name, without virtual ones."""
    noisy = with_backend(model, "native", noise=device, layout=layout)
    found: Counter[str] = Counter()
    for layer in quantum_layers(noisy).values():
        found.update(layer.transpiled.circuit.count_ops())
    virtual = {g.gate for g in device.gates if g.is_virtual}
    return {name: number for name, number in sorted(found.items()) if name not in virtual}
