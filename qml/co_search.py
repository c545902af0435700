"""Searching a sub-circuit and its qubits together, scored by the noise of the device.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits.design_spaces import SubCircuit
from nisqkit.circuits.names import unknown
from nisqkit.hardware_backends.device_values import DeviceValues
from nisqkit.hardware_backends.native_blocks import NativeBlocks
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.datasets import Split
from nisqkit.qml.models import quantum_layers, with_backend
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.qml.training_free import clifford_noise_resilience, representational_capacity
from nisqkit.search import Budget, Group, Injection, Objective, Problem, Space

SCORES = ("loss", "loss/success", "ideal", "training-free")
LEAST_SUCCESS = 1e-5
ELIVAGAR_POWER = 0.25
Candidate: TypeAlias = Mapping[str, Any]
Judge: TypeAlias = Callable[[Tensor], dict[str, float]]
"""From what the head gives to metrics, of which ``"loss"`` is one."""


class CoSearch:
    """What is searched: a sub-circuit of a SuperCircuit, and its qubits on a device.

    A candidate is ``{"circuit": ..., "layout": [...]}``, without the latter if it is fixed. Weights
    are inherited from the SuperCircuit. Scores, of which lower is better:

    - ``"loss"``: the loss under the device's noise, exactly: native blocks and routing of
      `NativeBlocks`, readout included;
    - ``"loss/success"``: the loss without noise over the estimated success probability, for
      circuits too wide for the former; a negative loss, such as an energy, is multiplied by it;
    - ``"ideal"``: the loss without noise, which knows nothing of the device;
    - ``"training-free"``: minus Elivagar's product of representational capacity and Clifford noise
      resilience to the power 1/4, which needs no trained weights; with `classifying` only.

    Args:
        model: A trained SuperCircuit.
        device: The device; its full noise.
        judge: See `Judge`; `classifying` and `energy` make one.
        inputs: Shape ``(samples, num_inputs)``.
        score: See above.
        layout: Fixed qubits; None: searched among all that work.
        labels: Classes of the samples, for ``"training-free"``.

    Raises:
        ValueError: An unknown score, ``"training-free"`` without labels, or a device that is too
            small.
    """

    def __init__(
        self,
        model: SuperCircuit,
        device: Device,
        judge: Judge,
        inputs: Tensor,
        *,
        score: str = "loss",
        layout: Sequence[int] | None = None,
        labels: Tensor | None = None,
    ) -> None:
        if score not in SCORES:
            raise ValueError(unknown("score", score, SCORES))
        if score == "training-free" and labels is None:
            raise ValueError("score='training-free' compares classes: use CoSearch.classifying")
        self.labels = labels
        if device.num_qubits < model.design.num_qubits:
            raise ValueError(
                f"{device.name} has {device.num_qubits} qubits, and the circuits "
                f"{model.design.num_qubits}: choose a larger device"
            )
        self.model, self.device, self.judge = model, device, judge
        self.score, self.layout = score, layout
        self.inputs = inputs.to(model.layer.weights.dtype)
        self.blocks = NativeBlocks(device)

    @classmethod
    def classifying(
        cls,
        model: SuperCircuit,
        split: Split,
        device: Device,
        *,
        calibrate: bool = True,
        **options: Any,
    ) -> CoSearch:
        """Score by the cross entropy of the head's logits; QuantumNAS takes 500 samples.

        Noise makes all expectation values smaller, and that costs cross entropy, but no accuracy:
        as it is, the loss prefers smaller circuits than accuracy does. So it is taken at the best
        scale of the logits, other than in QuantumNAS.

        Args:
            model: With a head that gives logits.
            split: Samples of the validation split, with labels.
            device: As in the class.
            calibrate: Whether the logits are scaled.
            **options: As in the class.
        """
        features, labels = split.tensors()

        def judge(logits: Tensor) -> dict[str, float]:
            right = (logits.argmax(dim=1) == labels).double().mean()
            plain = float(cross_entropy(logits.double(), labels))
            loss = calibrated_loss(logits, labels) if calibrate else plain
            return {"loss": loss, "accuracy": float(right)}

        return cls(model, device, judge, features, labels=labels, **options)

    @classmethod
    def energy(cls, model: SuperCircuit, device: Device, **options: Any) -> CoSearch:
        """Score by the sum of the outputs: the energy of a variational eigensolver.

        Args:
            model: Without an encoder, its observable the Hamiltonian.
            device: As in the class.
            **options: As in the class.
        """
        return cls(
            model,
            device,
            lambda values: {"loss": float(values.double().sum())},
            torch.zeros(1, 0),
            **options,
        )

    @cached_property
    def _values(self) -> DeviceValues:
        layer = self.model.layer
        return DeviceValues(
            layer.program,
            NoiseModel.from_device(self.device),
            self.inputs,
            layer.weights.detach(),
            layer.observables,
            self.blocks,
        )

    @cached_property
    def space(self) -> Space:
        """All candidates."""
        circuit = self.model.design.space
        if self.layout is not None:
            return Group({"circuit": circuit})
        dead = self.device.dead_edges
        edges = [edge for edge in self.device.coupling if edge not in dead]
        allowed = working_qubits(self.device)
        layout = Injection(self.model.design.num_qubits, allowed=allowed, coupled=edges)
        return Group({"layout": layout, "circuit": circuit})

    def layout_of(self, candidate: Candidate) -> tuple[int, ...]:
        """The qubits of a candidate."""
        return tuple(candidate["layout"] if self.layout is None else self.layout)

    def measure(self, candidate: Candidate) -> dict[str, float]:
        """Static metrics: weights, gates on the device, depth, duration, success probability."""
        program = self.model.program(candidate["circuit"])
        routed = self.blocks.route(program, self.layout_of(candidate))
        parameters = self.model.design.num_weights(candidate["circuit"])
        return {"parameters": float(parameters)} | self.blocks.counts(routed)

    def evaluate(self, candidates: Sequence[Candidate]) -> list[dict[str, float]]:
        """Score, loss, and what else `judge` says."""
        return [self._evaluate(candidate) for candidate in candidates]

    def _evaluate(self, candidate: Candidate) -> dict[str, float]:
        sub, layout = candidate["circuit"], self.layout_of(candidate)
        if self.score == "training-free":
            return self._training_free(sub, layout)
        if self.score == "loss":
            routed = self.blocks.route(self.model.program(sub), layout)
            found = self.judge(self.model.head(self._values.of_routed(routed)))
            return {"score": found["loss"]} | found
        with torch.no_grad():
            found = self.judge(self.model.of(sub, self.inputs))
        score = found["loss"]
        if self.score == "loss/success":
            success = max(self.measure(candidate)["success_probability"], LEAST_SUCCESS)
            score = score / success if score > 0 else score * success
        return {"score": score} | found

    def _training_free(self, sub: SubCircuit, layout: Sequence[int]) -> dict[str, float]:
        """Elivagar's two predictors, and its score."""
        program = self.model.program(sub)
        resilience = clifford_noise_resilience(
            program, layout, self._pauli_noise, blocks=self.blocks
        )
        inputs, labels = self._some
        capacity = representational_capacity(program, inputs, labels)
        score = -capacity * resilience**ELIVAGAR_POWER
        return {"score": score, "resilience": resilience, "capacity": capacity}

    @cached_property
    def _pauli_noise(self) -> NoiseModel:
        return NoiseModel.from_device(self.device, kind="pauli")

    @cached_property
    def _some(self) -> tuple[Tensor, Tensor]:
        """16 samples of each class."""
        assert self.labels is not None
        rows = [torch.nonzero(self.labels == k)[:16, 0] for k in torch.unique(self.labels)]
        return self.inputs[torch.cat(rows)], self.labels[torch.cat(rows)]

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

    def check(self, budgets: Sequence[Budget | str] = ()) -> None:
        """Refuse budgets that cannot work, before anything is trained.

        Raises:
            ValueError: A budget on a metric that there is not, or that nothing fits.
        """
        problem = self.problem(budgets)
        if budgets:
            found = self.space.feasible(problem.budgets, self.measure, samples=200)
            if found.share == 0:
                raise ValueError(f"none of 200 candidates fits the budgets: {found}")

    def transpiled_loss(self, candidate: Candidate, model: nn.Module | None = None) -> float:
        """The loss under the device's noise of the circuit as Qiskit transpiles it.

        Args:
            candidate: Which one.
            model: A model of this circuit, such as a retrained one; None: with inherited weights.
        """
        chosen = model or self.model.extract(candidate["circuit"])
        noisy = with_backend(chosen, "native", noise=self.device, layout=self.layout_of(candidate))
        with torch.no_grad():
            return self.judge(noisy.eval()(self.inputs))["loss"]


def calibrated_loss(logits: Tensor, labels: Tensor) -> float:
    """The cross entropy of logits at their best common scale.

    Example:
        >>> labels = torch.tensor([0, 1, 1, 0])
        >>> logits = torch.tensor([[0.3, 0.1], [0.1, 0.2], [0.2, 0.1], [0.2, 0.0]])
        >>> abs(calibrated_loss(logits, labels) - calibrated_loss(0.1 * logits, labels)) < 1e-3
        True
    """
    values = logits.double()
    spread = float(values.std()) or 1.0
    scales = torch.logspace(-2, 3, 101, dtype=torch.float64) / spread
    losses = torch.stack([cross_entropy(scale * values, labels) for scale in scales])
    return float(losses.min())


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
