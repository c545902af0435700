"""What would help against noise: other qubits, fewer gates, mitigated readout; each one tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.error_budget import Progress, points
from nisqkit.qml.strengths import Loss, NoisyModel, Score

TRIED = 4
"""Layouts, and dropped gates, that are tried for each quantum layer."""

_BEAM = 24  # sets of qubits that are looked at


@dataclass(frozen=True)
class Proposal:
    """A change, and what the model does with it on the same data and noise.

    Attributes:
        what: ``"layout 1-2-3-4"``, ``"without cu3 on logical qubits 0, 1 (instruction 21)"``
        loss: The noisy loss with it.
        accuracy: The noisy accuracy with it; None without class labels.
        loss_change: ``loss`` minus the noisy loss without it.
        accuracy_gain: ``accuracy`` minus the one without it; None without class labels.
        layer: The name of the quantum layer that it is about; ``""`` is the model itself.
        layout: For another layout, what to give `NoisyBackend` as ``layout``.
        mask: For a dropped gate, what to give `Program.select`.
    """

    what: str
    loss: float
    accuracy: float | None
    loss_change: float
    accuracy_gain: float | None
    layer: str = ""
    layout: tuple[int, ...] | None = None
    mask: tuple[bool, ...] | None = None

    @property
    def is_better(self) -> bool:
        """Whether the accuracy rises, or stays and the loss falls; without labels, the latter."""
        return _rank(self) < (0.0, 0.0)

    def __str__(self) -> str:
        gain = points(self.accuracy, self._before)
        return f"{self.what}: {gain}{', ' * bool(gain)}loss {self.loss_change:+.4f}"

    @property
    def _before(self) -> float | None:
        if self.accuracy is None or self.accuracy_gain is None:
            return None
        return self.accuracy - self.accuracy_gain


def propose(
    model: nn.Module,
    x: Tensor | None,
    y: Tensor,
    loss: Loss | None = None,
    *,
    noise: Device | NoiseModel | None = None,
    layout: Sequence[int] | None = None,
    idle: bool = False,
    progress: Progress | None = None,
) -> tuple[Proposal, ...]:
    """Try changes, and report what each one gives, the best first.

    Every number is measured with the change made, exactly (density matrices) and on the data given.
    Those that do not help are reported too. Tried are

    - other layouts, on devices: connected sets of qubits with good gates and readout, on which
      Qiskit places the circuit; of these the four that are expected to have the fewest errors;
    - to drop a trained gate: the four whose loss without noise suffers least, gates on several
      qubits first, as those on one qubit cost nearly nothing. The circuit is transpiled anew, and
      the weights are not trained anew;
    - readout without errors, which is the most that mitigating the readout can give.

    The best of many changes looks better on the data that it was chosen by than on others.

    The arguments are those of `error_budget`.

    Raises:
        ValueError: As `error_budget`.

    Example:
        >>> import torch
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> from nisqkit.qml import QuantumLayer
        >>> circuit = angle(2).compose(hardware_efficient(2, layers=1))
        >>> layer = QuantumLayer(circuit, inputs="x", seed=0)
        >>> x, y = torch.linspace(-1, 1, 20).reshape(10, 2), torch.arange(10) % 2
        >>> found = propose(layer, x, y, noise=Device.load("fake_santiago"))
        >>> [p.what for p in found if p.layout is None and p.mask is None]
        ['perfect readout (an upper bound for mitigating it)']
    """
    told = progress or (lambda done: None)
    noisy = NoisyModel(model, x, y, noise=noise, loss=loss, layout=layout, idle=idle)
    before = noisy.score()
    found: list[Proposal] = []

    def add(
        what: str,
        score: Score,
        layer: str = "",
        layout: tuple[int, ...] | None = None,
        mask: tuple[bool, ...] | None = None,
    ) -> None:
        where = f"{layer}: " if len(noisy.layers) > 1 and layer else ""
        gain = None
        if score.accuracy is not None and before.accuracy is not None:
            gain = score.accuracy - before.accuracy
        change = score.loss - before.loss
        found.append(
            Proposal(where + what, score.loss, score.accuracy, change, gain, layer, layout, mask)
        )
        told(min(1.0, len(found) / (1 + 2 * TRIED * len(noisy.layers))))

    read = [c for c in noisy.causes if c.rpartition(": ")[2].startswith("readout of ")]
    if read:
        what = "perfect readout (an upper bound for mitigating it)"
        add(what, noisy.score(dict.fromkeys(read, 0.0)))
    for name, layer in noisy.layers.items():
        binder, program = noisy.binders[name], layer.program
        for other in other_layouts(binder, program)[:TRIED]:
            with noisy.changed(name, binder=replace(binder, layout=other)):
                add(f"layout {'-'.join(map(str, other))}", noisy.score(), name, layout=other)
        for group in _least_missed(noisy, name):
            mask = _without(program, group)
            with noisy.changed(name, program=program.select(mask)):
                add(f"without {_described(program, group)}", noisy.score(), name, mask=mask)
    told(1.0)
    return tuple(sorted(found, key=_rank))


def _rank(proposal: Proposal) -> tuple[float, float]:
    return -(proposal.accuracy_gain or 0.0), proposal.loss_change


def other_layouts(binder: Binder, program: Program) -> list[tuple[int, ...]]:
    """Other layouts of a program, the one with the fewest errors expected first.

    Expected by the errors of its native gates and of its readout. On each set of qubits from
    `connected_sets` Qiskit places the logical qubits.
    """
    device = binder.model.device
    if device is None:
        return []
    now = binder.transpile(program)
    assert now is not None, "there is a device"
    found: dict[tuple[int, ...], float] = {}
    for qubits in connected_sets(device, program.num_qubits):
        try:
            placed = transpile_to(
                program,
                device.reduced(qubits),
                optimization_level=binder.optimization_level,
                seed=binder.seed,
            )
        except ValueError:  # a gate is dead or missing on these qubits
            continue
        layout = tuple(qubits[k] for k in placed.initial_layout)
        if layout != now.initial_layout:
            found[layout] = _log_success(placed)
    return sorted(found, key=lambda layout: -found[layout])


def connected_sets(device: Device, size: int) -> list[tuple[int, ...]]:
    """Sets of qubits that two-qubit gates connect, those with the smallest errors first.

    Each qubit adds its readout error, and the smallest error of its gates with those before it.
    On large devices only the best ones of each size are looked at (a beam search).

    Example:
        >>> connected_sets(Device.load("fake_santiago"), 4)  # a line of five qubits
        [(1, 2, 3, 4), (0, 1, 2, 3)]
    """
    edges: dict[int, dict[int, float]] = {q: {} for q in range(device.num_qubits)}
    for gate in device.gates:
        if len(gate.qubits) == 2 and not gate.is_dead and gate.error is not None:
            for a, b in (gate.qubits, gate.qubits[::-1]):
                edges[a][b] = min(edges[a].get(b, math.inf), _log_error(gate.error))
    cost = {
        q: _log_error(sum(pair) / 2) for q, pair in enumerate(device.readout) if pair is not None
    }
    sets: dict[tuple[int, ...], float] = {(q,): c for q, c in cost.items()}
    for _ in range(size - 1):
        grown: dict[tuple[int, ...], float] = {}
        for qubits, total in sets.items():
            for q in {b for a in qubits for b in edges[a] if b in cost}.difference(qubits):
                joined = tuple(sorted((*qubits, q)))
                new = total + cost[q] + min(edges[q][a] for a in qubits if a in edges[q])
                grown[joined] = min(grown.get(joined, math.inf), new)
        best = sorted(grown, key=lambda qubits: (grown[qubits], qubits))[: _BEAM * size]
        sets = {qubits: grown[qubits] for qubits in best}
    return sorted(sets, key=lambda qubits: (sets[qubits], qubits))[:_BEAM]


def _log_error(error: float) -> float:
    return -math.log1p(-min(error, 1 - 1e-12))


def _log_success(placed: Transpiled) -> float:
    """The logarithm of the probability that nothing goes wrong."""
    device, total = placed.device, 0.0
    for instruction in placed.circuit.data:
        qubits = tuple(placed.circuit.find_bit(q).index for q in instruction.qubits)
        calibration = device.gate(instruction.name, qubits)
        total -= _log_error((calibration and calibration.error) or 0.0)
    for q in placed.layout:
        total -= _log_error(sum(device.readout[q] or (0.0, 0.0)) / 2)
    return total


def _least_missed(noisy: NoisyModel, name: str) -> list[int]:
    """The trained gates whose loss without noise suffers least when they are dropped."""
    program = noisy.layers[name].program
    trained = _trained(program)
    wide = {k for k in trained if len({q for use in _gates(program, k) for q in use.qubits}) > 1}
    missed: dict[int, float] = {}
    candidates = sorted(wide) if len(wide) >= TRIED else trained
    for group in candidates:
        dropped = program.select(_without(program, group))
        with noisy.noise_free(), noisy.changed(name, program=dropped):
            missed[group] = noisy.score().loss
    return sorted(missed, key=lambda k: (k not in wide, missed[k], k))[:TRIED]


def _trained(program: Program) -> list[int]:
    """Groups with an angle that depends on a weight."""
    first = len(program.inputs)
    depends = [any(k >= first for k in used) for used in program.angle_map.dependencies]
    groups = {use.group for use in program.gates if any(depends[s] for s in use.slots)}
    return sorted(groups)


def _gates(program: Program, group: int) -> list[GateUse]:
    return [use for use in program.gates if use.group == group and use.name != "barrier"]


def _without(program: Program, group: int) -> tuple[bool, ...]:
    return tuple(k != group for k in range(program.num_groups))


def _described(program: Program, group: int) -> str:
    gates = _gates(program, group)
    names = "+".join(dict.fromkeys(use.name for use in gates))
    qubits = sorted({q for use in gates for q in use.qubits})
    which = ", ".join(map(str, qubits))
    plural = "s" * (len(qubits) > 1)
    return f"{names} on logical qubit{plural} {which} (instruction {group})"
