"""One budget, two halves: circuit, qubits, encoder, bits, shots and what is trained, together.

A candidate is a group of the spaces of both halves; all of them share the weights of one hybrid
supernet, and each is trained for a few steps under its own bits and masks before it is judged on
the noisy device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.circuits.encoders import angle
from nisqkit.circuits.program import Program
from nisqkit.compression.elastic_net import ElasticNet
from nisqkit.compression.layers import compressible_layers
from nisqkit.compression.prune import prune
from nisqkit.compression.quantize import QuantizePolicy, quantize
from nisqkit.compression.quantized_layer import QuantizedCircuit
from nisqkit.compression.shrinking import train_supernet
from nisqkit.compression.supernet import HybridSupernet
from nisqkit.hardware_backends.device_values import DeviceValues
from nisqkit.hardware_backends.ibm_price import price_usd, qpu_seconds
from nisqkit.hardware_backends.native_blocks import NativeBlocks
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.classifiers import GroupSum
from nisqkit.qml.co_search import working_qubits
from nisqkit.qml.datasets import Split
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.search import Budget, Choice, Group, Injection, Objective, Ordered, Problem, Space

Candidate: TypeAlias = Mapping[str, Any]
WIDTHS = (2, 4, 8, 16)
BITS = (2, 3, 4, 6, 8)
ANGLE_BITS = (3, 4, 6, 8)
RATIOS = (0.0, 0.25, 0.5, 0.75)
SHOTS = (256, 512, 1024, 2048, 4096)
TRAINED = ("everything", "encoder", "circuit", "last block")
CIRCUIT_HALF = ("circuit", "layout", "angle_bits", "measurement_bits", "shots", "trained")
CLASSICAL_HALF = ("encoder", "prune", "weight_bits")
_CHUNK = 64


def joint_supernet(
    num_features: int,
    num_classes: int,
    *,
    space: str = "u3cu3",
    blocks: int = 4,
    widths: Sequence[int] = WIDTHS,
    seed: int = 0,
) -> HybridSupernet:
    """A hybrid supernet: an elastic encoder, then a SuperCircuit with a qubit for each angle.

    ``Linear(features, w), Tanh, Linear(w, qubits)`` gives the angles of RY gates.

    Args:
        num_features: Of a sample.
        num_classes: Classes; qubits are the smallest multiple of it that is at least 4.
        space: Design space of the circuit.
        blocks: Its blocks.
        widths: What ``w`` may be.
        seed: Of the weights.
    """
    qubits = num_classes * ceil(4 / num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(num_features, max(widths)), nn.Tanh(), nn.Linear(max(widths), qubits)
        )
    circuit = SuperCircuit(
        DesignSpace(space, qubits, blocks),
        angle(qubits),
        head=GroupSum(qubits, num_classes),
        seed=seed,
    )
    encoder = ElasticNet(net, widths={"0": list(widths)})
    return HybridSupernet({"encoder": encoder, "circuit": circuit})


def train_joint(model: HybridSupernet, split: Split, *, epochs: int, seed: int = 0) -> None:
    """Train a joint supernet by the sandwich rule, noise-free and in full precision."""
    x, y = split.tensors()
    train_supernet(model, x, y, epochs=epochs, phases=[None], batch_size=64, seed=seed)
    model.eval()


def joint_space(model: HybridSupernet, device: Device) -> Group:
    """Everything that can vary, as one space.

    - ``"encoder"``, ``"circuit"``: sub-networks of the supernet;
    - ``"layout"``: the device's qubit of every logical one;
    - ``"prune"``, ``"weight_bits"``: of each layer of the encoder, by name;
    - ``"angle_bits"``, ``"measurement_bits"``, ``"shots"``: of the circuit;
    - ``"trained"``: ``"everything"``, the ``"encoder"``, the ``"circuit"``, or the
      ``"last block"`` of it. On a quantum computer every trained angle costs executions, and so
      does an encoder before the circuit, which needs the gradient of its inputs.

    Args:
        model: From `joint_supernet`.
        device: The device.
    """
    encoder, circuit = model.part("encoder"), model.part("circuit")
    layers = list(compressible_layers(encoder.model))
    dead = device.dead_edges
    edges = [edge for edge in device.coupling if edge not in dead]
    qubits = circuit.design.num_qubits
    return Group(
        {
            "encoder": encoder.__space__(),
            "circuit": circuit.__space__(),
            "layout": Injection(qubits, allowed=working_qubits(device), coupled=edges),
            "prune": Group({name: Ordered(list(RATIOS)) for name in layers}),
            "weight_bits": Group({name: Ordered(list(BITS)) for name in layers}),
            "angle_bits": Ordered(list(ANGLE_BITS)),
            "measurement_bits": Ordered(list(ANGLE_BITS)),
            "shots": Ordered(list(SHOTS)),
            "trained": Choice(list(TRAINED)),
        }
    )


class JointSearch:
    """The search problem over both halves of a hybrid model.

    Args:
        model: A trained joint supernet.
        train: Samples that candidates are fine-tuned on.
        valid: Samples that judge them.
        device: The device; its full noise.
        steps: Fine-tuning steps of each candidate.
        fixed: Groups of `joint_space` that do not vary, with their values, for searching one half
            after the other.
        seed: Of fine-tuning and shots.

    Raises:
        ValueError: A group that there is not.
    """

    def __init__(
        self,
        model: HybridSupernet,
        train: Split,
        valid: Split,
        device: Device,
        *,
        steps: int = 20,
        fixed: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.device, self.steps, self.seed = model, device, steps, seed
        self.train, self.valid = train.tensors(), valid.tensors()
        self.whole = joint_space(model, device)
        self.fixed = dict(fixed or {})
        if strange := set(self.fixed) - set(self.whole.members):
            raise ValueError(
                f"fixed has {sorted(strange)}, and the groups are {sorted(self.whole.members)}"
            )
        self.noise = NoiseModel.from_device(device)
        self.blocks = NativeBlocks(device)

    @property
    def space(self) -> Space:
        """What varies."""
        members = {k: v for k, v in self.whole.members.items() if k not in self.fixed}
        return Group(members)

    def full(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate with what is fixed."""
        return self.fixed | dict(candidate)

    def measure(self, candidate: Candidate) -> dict[str, float]:
        """Static metrics of both halves, without simulating.

        Returns:
            ``weight_bytes`` (packed; pruned layers as a bit mask and what is left, if that is
            smaller), ``macs`` and ``nonzero_macs`` of the encoder, ``executions_per_epoch``,
            ``qpu_seconds_per_epoch`` and ``price_usd_per_epoch`` of training by parameter shift
            (IBM's quick formula, one job per step of 64 samples), and what `NativeBlocks.counts`
            says of the circuit.
        """
        found = self.full(candidate)
        bytes_, macs, nonzero = self._encoder_costs(found)
        circuit = self.model.part("circuit")
        program = circuit.program(found["circuit"])
        weights = circuit.design.num_weights(found["circuit"])
        bytes_ += ceil(weights * found["angle_bits"] / 8)
        samples = len(self.train[0])
        executions = samples * self._circuits(program, found) * found["shots"]
        seconds = qpu_seconds(executions, jobs=ceil(samples / _CHUNK))
        return {
            "parameters": float(weights),
            "weight_bytes": float(bytes_),
            "macs": float(macs),
            "nonzero_macs": float(nonzero),
            "executions_per_epoch": float(executions),
            "qpu_seconds_per_epoch": seconds,
            "price_usd_per_epoch": price_usd(seconds),
        } | self.blocks.counts(self.blocks.route(program, found["layout"]))

    def _encoder_costs(self, found: Candidate) -> tuple[int, int, int]:
        """Packed bytes, multiplications, and those with a weight that is not pruned."""
        net = self.model.part("encoder").extract(found["encoder"])
        total = macs = nonzero = 0
        for name, layer in compressible_layers(net).items():
            count = layer.weight.numel()
            left = count - round(found["prune"][name] * count)
            bits = found["weight_bits"][name]
            packed = min(count * bits, left * bits + count)
            outputs = layer.weight.shape[0]
            total += ceil(packed / 8) + 4 * outputs  # a scale for each output
            total += 0 if layer.bias is None else 4 * outputs
            macs, nonzero = macs + count, nonzero + left
        return total, macs, nonzero

    def _circuits(self, program: Program, found: Candidate) -> int:
        """Circuits per sample and step: the forward pass, and what parameter shift adds."""
        trained = found["trained"]
        inputs = set(program.angle_map.batched_slots)
        kept = self._last_block(program, found) if trained == "last block" else None
        shifts = 0
        for use in program.gates:
            for k, slot in enumerate(use.slots):
                number = len(use.gate.shift_rule(k)[0])
                if slot in inputs:
                    shifts += number if trained in ("everything", "encoder") else 0
                elif trained in ("everything", "circuit") or (kept is not None and slot in kept):
                    shifts += number
        return 1 + shifts

    def _last_block(self, program: Program, found: Candidate) -> set[int]:
        """Slots of the angles in the last block."""
        design = self.model.part("circuit").design
        before = sum(design.weight_mask(found["circuit"][:-1])) if len(found["circuit"]) > 1 else 0
        angles = [
            slot
            for use in program.gates
            for slot in use.slots
            if slot not in set(program.angle_map.batched_slots)
        ]
        return set(angles[before:])

    def build(self, candidate: Candidate) -> nn.Sequential:
        """The candidate as a model: a sub-network of the supernet, masked, with its bits.

        Quantisation-aware: it can be trained, and saved.
        """
        return compressed(self.model, self.full(candidate), self.train[0][:128])

    def tune(self, model: nn.Sequential, candidate: Candidate, steps: int) -> None:
        """Train what the candidate trains, without noise."""
        found = self.full(candidate)
        mask = self.freeze(model, found)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=0.01)
        x, y = self.train
        order = np.random.default_rng(self.seed).permutation(len(x))
        model.train()
        for step in range(steps):
            rows = order[(np.arange(_CHUNK) + step * _CHUNK) % len(order)]
            optimizer.zero_grad()
            loss = cross_entropy(model(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            weights = quantized_circuit(model).circuit.weights
            if mask is not None and isinstance(weights, Tensor) and weights.grad is not None:
                weights.grad[~mask] = 0.0
            optimizer.step()
        for p in model.parameters():
            p.requires_grad_(True)
        model.eval()

    def freeze(self, model: nn.Sequential, found: Candidate) -> Tensor | None:
        """Say which parameters are trained; a mask of the circuit's, where not all are."""
        trained = found["trained"]
        for p in model.get_submodule("encoder").parameters():
            p.requires_grad_(trained in ("everything", "encoder"))
        for p in model.get_submodule("circuit").parameters():
            p.requires_grad_(trained != "encoder")
        if trained != "last block":
            return None
        design: DesignSpace = self.model.part("circuit").design
        count = design.num_weights(found["circuit"])
        last = design.num_weights(found["circuit"][-1:])
        return torch.arange(count) >= count - last

    def evaluate(self, candidates: Sequence[Candidate]) -> list[dict[str, float]]:
        """Loss and error of candidates on the noisy device, after fine-tuning."""
        found = []
        for candidate in candidates:
            model = self.build(candidate)
            self.tune(model, candidate, self.steps)
            found.append(self.judged(model, candidate))
        return found

    def judged(self, model: nn.Sequential, candidate: Candidate) -> dict[str, float]:
        """Loss, error rate and accuracy on the validation split, with noise and shots."""
        found = self.full(candidate)
        x, y = self.valid
        with torch.no_grad():
            angles = model.get_submodule("encoder")(x)
            quantized = quantized_circuit(model)
            layer = quantized.circuit
            program = layer.program
            assert isinstance(program, Program)
            values = DeviceValues(
                program, self.noise, angles, quantized.weights, blocks=self.blocks
            )
            exact = values.of_routed(self.blocks.route(program, found["layout"]))
            key = hashlib.sha256(self.whole.key(found).encode()).digest()[:8]
            rng = np.random.default_rng((self.seed, int.from_bytes(key, "little")))
            spread = ((1 - exact.double() ** 2).clamp_min(0) / found["shots"]).sqrt()
            noise = torch.from_numpy(rng.normal(size=tuple(exact.shape)))
            seen = (exact.double() + spread * noise).to(exact.dtype)
            if quantized.measured is not None:
                seen = quantized.measured(seen)
            logits = model.get_submodule("circuit")[1](seen)  # type: ignore[index]
        right = float((logits.argmax(dim=1) == y).double().mean())
        loss = float(cross_entropy(logits.double(), y))
        return {"loss": loss, "error": 1 - right, "accuracy": right}

    def problem(
        self,
        budgets: Sequence[Budget | str] = (),
        objectives: Sequence[str] = ("loss", "weight_bytes", "qpu_seconds_per_epoch"),
    ) -> Problem:
        """The search problem, with hard budgets on the metrics of `measure`."""
        judged = ("loss", "error")
        wanted = [
            Objective(name, cost="expensive" if name in judged else "static") for name in objectives
        ]
        return Problem(
            self.space, wanted, measure=self.measure, evaluate=self.evaluate, budgets=budgets
        )


def compressed(model: HybridSupernet, found: Candidate, calibrate: Tensor) -> nn.Sequential:
    """A candidate of `joint_space` as a model of its own.

    Args:
        model: The supernet.
        found: The candidate, with all groups.
        calibrate: Inputs for the ranges of measured values.
    """
    parts = model.extract({"encoder": found["encoder"], "circuit": found["circuit"]})
    ratios = {f"encoder.{name}": ratio for name, ratio in found["prune"].items() if ratio}
    smaller = prune(parts, ratios) if ratios else parts
    policy = QuantizePolicy(
        weight_bits=32,
        layers={f"encoder.{name}": (bits, 32) for name, bits in found["weight_bits"].items()},
        angle_bits=found["angle_bits"],
        measurement_bits=found["measurement_bits"],
        mode="qat",
    )
    result = quantize(smaller, policy, calibrate)
    assert isinstance(result, nn.Sequential)
    return result


def quantized_circuit(model: nn.Module) -> QuantizedCircuit:
    """The circuit of a model that `compressed` made."""
    (found,) = [part for part in model.modules() if isinstance(part, QuantizedCircuit)]
    return found
