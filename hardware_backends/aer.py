"""Qiskit Aer: exact state vectors, or the full noise of a device with its readout errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit_aer import AerSimulator

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.aer_circuits import (
    AerCircuit,
    FloatArray,
    ideal_circuit,
    noisy_circuit,
    on_device,
)
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import (
    draw,
    estimate,
    generator,
    in_basis,
    measurement_bases,
    scores,
)
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.device import Device
from nisqkit.noise.model import NoiseModel

_Options = tuple[str, str, Device | None]  # method, precision, device

_METHODS = ("automatic", "statevector", "density_matrix")
_DENSITY_QUBITS = 12  # beyond this, single shots are faster than 4**n numbers
_GATES_PER_RUN = 400_000  # Aer copies the circuit for every sample: this is about 300 MB


class AerBackend(Backend):
    """Qiskit Aer's simulators, exact or with noise.

    Without noise: state vectors. With a device: the circuit is transpiled for it, together with the
    rotations into each measurement basis, which are as noisy as all other gates; every gate must
    have a noise channel; and the device's readout errors, different for 0 and 1, act on the
    measured probabilities. Exact values come from density matrices of the qubits that are used.
    A noise model does the same with its own channels and confusions; one without a device takes
    circuits as they are, and its rotations into a measurement basis are exact.

    The noise of a device is Qiskit's own (`aer_noise_model`), so that values agree with other
    users of Aer and can be held against the native engine's. Aer leaves out what happens with a
    probability below 1e-10, which moves values by some 1e-8; the channels of a noise model are
    part of the circuit, where nothing is left out.

    Shots are drawn from these exact probabilities, which for measurements at the end of a circuit
    has the same law as running it shot by shot; above 12 used qubits a circuit with the noise of a
    device is really run shot by shot. Tasks in float32 are simulated in single precision, tasks in
    float64 in double precision.

    Args:
        noise: A device, a noise model, or ``None`` for a perfect machine.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.
        method: ``"density_matrix"``, ``"statevector"`` (with a device: shot by shot) or
            ``"automatic"``.

    Raises:
        TypeError: ``noise`` is neither a device nor a noise model.
        ValueError: Unknown ``method``, ``"statevector"`` with a noise model, or a layout without a
            device.

    Example:
        >>> from nisqkit.circuits import Observables, angle, lower
        >>> program = lower(angle(1), inputs="x")
        >>> x = torch.zeros(1, 1, dtype=torch.float64)
        >>> task = Task(program, x, x.new_zeros(0), Observables.parse("Z", 1))
        >>> AerBackend().run([task])[0].values
        tensor([[1.]], dtype=torch.float64)
        >>> noisy = AerBackend(Device.load("fake_santiago"), layout=[0])
        >>> round(noisy.run([task])[0].values.item(), 4)  # 1 - 2 P(1|0), and two sx
        0.9868
    """

    name = "aer"

    def __init__(
        self,
        noise: Device | NoiseModel | None = None,
        *,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
        method: str = "automatic",
    ) -> None:
        if method not in _METHODS:
            raise ValueError(f"method is {method!r}: give one of {', '.join(map(repr, _METHODS))}")
        if layout is not None and noise is None:
            raise ValueError(
                "layout needs a device: give noise=Device.load(...), or leave layout out"
            )
        if isinstance(noise, NoiseModel) and method == "statevector":
            raise ValueError(
                "method='statevector' cannot run the channels of a noise model: leave method out, "
                "or give a Device as noise"
            )
        self.binder = (
            None if noise is None else Binder.make(noise, layout, optimization_level, seed)
        )
        self.channels = isinstance(noise, NoiseModel)
        self.places = self.binder is not None
        self.method = method

    def __repr__(self) -> str:
        noise = "no noise" if self.binder is None else self.binder.model.name
        return f"AerBackend({noise}, method={self.method!r})"

    def transpile(self, program: Program) -> Transpiled | None:
        """Return the program as the device gets it, without measurements; None without a device."""
        return None if self.binder is None else self.binder.transpile(program)

    def check(self, task: Task) -> None:
        """Raise if the task cannot be run: see `transpile_to`, `NoiseModel.bind` and below.

        Raises:
            ValueError: The circuit does not fit the device, a gate or a readout has no known noise,
                ``shots`` is not a positive integer, exact values are asked of
                ``method="statevector"`` with noise, or the state does not fit in memory.
        """
        if task.shots is not None and task.shots < 1:
            raise ValueError(
                f"shots is {task.shots}: give a positive number, or None for exact values"
            )
        circuits = [self._circuit(task, b) for b in measurement_bases(task.observables)]
        width = max(c.circuit.num_qubits for c in circuits)
        if task.shots is None and self._shot_by_shot(task, circuits[0]):
            raise ValueError(
                "method='statevector' with noise runs shot by shot, so it has no exact values: "
                "give shots, or leave method out"
            )
        method = self._method(task, circuits[0])
        density = method == "density_matrix"
        check_memory(width, 2 * 16 * (4 if density else 2) ** width, density=density)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`; circuits that share a noise model are one call of Aer."""
        for task in tasks:
            self.check(task)
        work: dict[_Options, list[tuple[AerCircuit, FloatArray]]] = {}
        places: list[list[tuple[_Options, int]]] = []
        for task in tasks:
            places.append([])
            for basis in measurement_bases(task.observables):
                circuit = self._circuit(task, basis)
                if self._shot_by_shot(task, circuit):
                    continue
                key = self._options(task, circuit)
                done = work.setdefault(key, [])
                places[-1].append((key, len(done)))
                done.append((circuit, circuit.angles(task)))
        found = {key: _probabilities(_simulator(*key), items) for key, items in work.items()}
        return [
            self._result(task, [found[key][index] for key, index in place])
            for task, place in zip(tasks, places, strict=True)
        ]

    def _result(self, task: Task, probabilities: list[FloatArray]) -> Result:
        dtype, device = task.inputs.dtype, task.inputs.device
        if task.shots is None:
            pairs = zip(probabilities, scores(task.observables), strict=True)
            values = sum(table @ score.T for table, score in pairs)
            return Result(torch.as_tensor(values).to(device, dtype))
        counts = draw(probabilities, task.shots, task.seed) if probabilities else self._shots(task)
        result = estimate(counts, task.observables, dtype)
        assert result.std is not None
        return Result(result.values.to(device), result.std.to(device))

    def _shots(self, task: Task) -> list[NDArray[np.int64]]:
        """Counts of a noisy circuit that is too wide for density matrices: Aer runs every shot."""
        tables = []
        for group, basis in enumerate(measurement_bases(task.observables)):
            circuit = self._circuit(task, basis)
            simulator = _simulator(*self._options(task, circuit))
            table = np.zeros((task.batch, 2**task.observables.num_qubits), dtype=np.int64)
            for sample, row in enumerate(circuit.angles(task)):
                seed = int(generator(task.seed, sample, group).integers(2**31))
                found = simulator.run(
                    circuit.with_measurements,
                    parameter_binds=[circuit.bindings(row[None])],
                    shots=task.shots,
                    seed_simulator=seed,
                ).result()
                for outcome, count in _data(found, 0)["counts"].items():
                    table[sample, int(outcome, 16)] = count
            tables.append(table)
        return tables

    def _circuit(self, task: Task, basis: str) -> AerCircuit:
        if self.binder is None:
            return ideal_circuit(in_basis(task.program.by_slots, basis))
        if self.channels or task.placement is not None or task.noise_scale != 1:
            binder = self.binder if task.noise_scale == 1 else self.binder.scaled(task.noise_scale)
            return noisy_circuit(binder.bind_task(task, basis))
        transpiled = self.binder.transpile(task.program, basis)
        assert transpiled is not None, "a Device has been given"
        return on_device(transpiled)

    def _shot_by_shot(self, task: Task, circuit: AerCircuit) -> bool:
        if circuit.device is None or self.method == "density_matrix":
            return False
        wide = circuit.circuit.num_qubits > _DENSITY_QUBITS
        return self.method == "statevector" or (task.shots is not None and wide)

    def _method(self, task: Task, circuit: AerCircuit) -> str:
        if self.method != "automatic":
            return self.method
        exact_noise = self.binder is not None and not self._shot_by_shot(task, circuit)
        return "density_matrix" if exact_noise else "statevector"

    def _options(self, task: Task, circuit: AerCircuit) -> _Options:
        precision = "double" if task.inputs.dtype == torch.float64 else "single"
        return self._method(task, circuit), precision, circuit.device


@lru_cache(maxsize=16)
def _simulator(method: str, precision: str, device: Device | None) -> AerSimulator:
    return AerSimulator(
        method=method,
        precision=precision,
        noise_model=None if device is None else aer_noise_model(device),
        max_parallel_experiments=0,  # one sample per thread: the circuits are small
    )


def _probabilities(
    simulator: AerSimulator, items: Sequence[tuple[AerCircuit, FloatArray]]
) -> list[FloatArray]:
    """Probabilities of what is read, ``(batch, 2**n)`` for each circuit with its angles."""
    tables = [np.empty((len(angles), 2 ** len(c.saved))) for c, angles in items]
    for parts in _portions(items):
        circuits, bindings = [], []
        for index, rows in parts:
            circuit, angles = items[index]
            saved = circuit.circuit.copy()
            saved.save_probabilities(list(circuit.saved))
            circuits.append(saved)
            bindings.append(circuit.bindings(angles[rows]))
        found = simulator.run(circuits, parameter_binds=bindings, shots=1).result()
        position = 0
        for (index, rows), binding in zip(parts, bindings, strict=True):
            if not binding:  # no parameters: one result serves all samples
                tables[index][rows] = _data(found, position)["probabilities"]
                position += 1
                continue
            for row in range(rows.start, rows.stop):
                tables[index][row] = _data(found, position)["probabilities"]
                position += 1
    return [c.readout(table) for (c, _), table in zip(items, tables, strict=True)]


def _portions(items: Sequence[tuple[AerCircuit, FloatArray]]) -> Iterator[list[tuple[int, slice]]]:
    """Split the work into calls of Aer that fit in memory: lists of (item, rows)."""
    portion: list[tuple[int, slice]] = []
    room = _GATES_PER_RUN
    for index, (circuit, angles) in enumerate(items):
        size = circuit.size
        start = 0
        while start < len(angles):
            stop = min(len(angles), start + max(1, room // size))
            portion.append((index, slice(start, stop)))
            room -= (stop - start) * size
            start = stop
            if room < size:
                yield portion
                portion, room = [], _GATES_PER_RUN
    if portion:
        yield portion


def _data(result: Any, index: int) -> dict[str, Any]:
    if not result.success:
        raise RuntimeError(f"Qiskit Aer could not run the circuits: {result.status}")
    data: dict[str, Any] = result.data(index)
    return data
