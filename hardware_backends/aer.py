"""Qiskit Aer: exact state vectors, or the full noise of a device with its readout errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from nisqkit.circuits.gates import GATES
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.aer_noise import aer_noise_model
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import (
    draw,
    estimate,
    generator,
    in_basis,
    measurement_bases,
    scores,
)
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.coverage import coverage
from nisqkit.noise.device import Device

FloatArray = NDArray[np.float64]
_Options = tuple[str, str, Device | None]  # method, precision, device

_METHODS = ("automatic", "statevector", "density_matrix")
_DENSITY_QUBITS = 12  # beyond this, single shots are faster than 4**n numbers
_GATES_PER_RUN = 400_000  # Aer copies the circuit for every sample: this is about 300 MB


@dataclass(frozen=True, eq=False)
class _Circuit:
    """What Aer runs for one program in one basis.

    Attributes:
        circuit: Every angle is one parameter of `slots`, without arithmetic, which Aer binds
            quickly.
        slots: The parameters.
        measured: The qubit that holds each logical qubit at the end.
        transpiled: Where it came from, if there is a device.
    """

    circuit: QuantumCircuit
    slots: ParameterVector
    measured: tuple[int, ...]
    transpiled: Transpiled | None = None

    def angles(self, task: Task) -> FloatArray:
        """Values of `slots` for every sample of a task."""
        with torch.no_grad():
            values = slot_angles(task.program, task.inputs, task.weights)
            if self.transpiled is not None:
                values = self.transpiled.native.angles(values, values.new_zeros(0))
        return values.double().cpu().numpy()

    def readout(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities of what is read, given those of what is there: ``(batch, 2**n)`` both."""
        if self.transpiled is None:
            return probabilities
        n = len(self.measured)
        table = probabilities.reshape(-1, *[2] * n)
        for logical, qubit in enumerate(self.measured):
            pair = self.transpiled.reduced_device.readout[qubit]
            assert pair is not None, "coverage has been checked"
            read_1_after_0, read_0_after_1 = pair
            confusion = np.array(
                [[1 - read_1_after_0, read_0_after_1], [read_1_after_0, 1 - read_0_after_1]]
            )
            axis = n - logical
            table = np.moveaxis(np.tensordot(confusion, table, axes=(1, axis)), 0, axis)
        return np.asarray(table.reshape(len(probabilities), -1), dtype=np.float64)


class AerBackend(Backend):
    """Qiskit Aer's simulators, exact or with the noise of a device.

    Without noise: state vectors. With a device: the circuit is transpiled for it, together with the
    rotations into each measurement basis, which are as noisy as all other gates; every gate must
    have a noise channel; and the device's readout errors, different for 0 and 1, act on the
    measured probabilities. Exact values come from density matrices of the qubits that are used.

    Shots are drawn from these exact probabilities, which for measurements at the end of a circuit
    has the same law as running it shot by shot; above 12 used qubits a noisy circuit is really run
    shot by shot. Tasks in float32 are simulated in single precision, tasks in float64 in double
    precision.

    Attributes:
        device: The device whose noise is simulated, or ``None``.

    Args:
        noise: A device, or ``None`` for a perfect machine.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.
        method: ``"density_matrix"``, ``"statevector"`` (with noise: shot by shot) or
            ``"automatic"``.

    Raises:
        TypeError: ``noise`` is not a `Device`.
        ValueError: Unknown ``method``, or a layout without a device.

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
        noise: Device | None = None,
        *,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
        method: str = "automatic",
    ) -> None:
        if noise is not None and not isinstance(noise, Device):
            raise TypeError(
                f"the aer backend takes a Device as noise (Device.load, Device.from_backend), "
                f"or None, not {type(noise).__name__}"
            )
        if method not in _METHODS:
            raise ValueError(f"method is {method!r}: give one of {', '.join(map(repr, _METHODS))}")
        if layout is not None and noise is None:
            raise ValueError(
                "layout needs a device: give noise=Device.load(...), or leave layout out"
            )
        self.device = noise
        self.layout = None if layout is None else tuple(layout)
        self.optimization_level = optimization_level
        self.seed = seed
        self.method = method

    def __repr__(self) -> str:
        noise = "no noise" if self.device is None else self.device.name
        return f"AerBackend({noise}, method={self.method!r})"

    def transpile(self, program: Program) -> Transpiled | None:
        """Return the program as the device gets it, without measurements; None without a device."""
        if self.device is None:
            return None
        return transpile_to(
            program,
            self.device,
            layout=self.layout,
            optimization_level=self.optimization_level,
            seed=self.seed,
        )

    def check(self, task: Task) -> None:
        """Raise if the task cannot be run: see `transpile_to`, `nisqkit.noise.coverage` and below.

        Raises:
            ValueError: The circuit does not fit the device, a gate or a readout has no known noise,
                ``shots`` is not a positive integer, exact values are asked of
                ``method="statevector"`` with noise, or the state does not fit in memory.
        """
        if task.shots is not None and task.shots < 1:
            raise ValueError(
                f"shots is {task.shots}: give a positive number, or None for exact values"
            )
        circuits = [self._circuit(task.program, b) for b in measurement_bases(task.observables)]
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
        work: dict[_Options, list[tuple[_Circuit, FloatArray]]] = {}
        places: list[list[tuple[_Options, int]]] = []
        for task in tasks:
            places.append([])
            for basis in measurement_bases(task.observables):
                circuit = self._circuit(task.program, basis)
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
            circuit = self._circuit(task.program, basis)
            simulator = _simulator(*self._options(task, circuit))
            table = np.zeros((task.batch, 2**task.program.num_qubits), dtype=np.int64)
            for sample, row in enumerate(circuit.angles(task)):
                seed = int(generator(task.seed, sample, group).integers(2**31))
                found = simulator.run(
                    _with_measurements(circuit),
                    parameter_binds=[_bindings(circuit, row[None])],
                    shots=task.shots,
                    seed_simulator=seed,
                ).result()
                for outcome, count in _data(found, 0)["counts"].items():
                    table[sample, int(outcome, 16)] = count
            tables.append(table)
        return tables

    def _circuit(self, program: Program, basis: str) -> _Circuit:
        body = self.transpile(program)
        if body is None:
            return _ideal(in_basis(program.by_slots, basis))
        measured = in_basis(program.by_slots, basis)
        if measured == program.by_slots:
            return _noisy(body)
        assert self.device is not None
        # every basis starts on the same qubits
        return _noisy(
            transpile_to(
                measured,
                self.device,
                layout=body.initial_layout,
                optimization_level=self.optimization_level,
                seed=self.seed,
            )
        )

    def _shot_by_shot(self, task: Task, circuit: _Circuit) -> bool:
        if self.device is None or self.method == "density_matrix":
            return False
        wide = circuit.circuit.num_qubits > _DENSITY_QUBITS
        return self.method == "statevector" or (task.shots is not None and wide)

    def _method(self, task: Task, circuit: _Circuit) -> str:
        if self.method != "automatic":
            return self.method
        exact_noise = self.device is not None and not self._shot_by_shot(task, circuit)
        return "density_matrix" if exact_noise else "statevector"

    def _options(self, task: Task, circuit: _Circuit) -> _Options:
        precision = "double" if task.inputs.dtype == torch.float64 else "single"
        device = None if circuit.transpiled is None else circuit.transpiled.reduced_device
        return self._method(task, circuit), precision, device


@lru_cache(maxsize=16)
def _simulator(method: str, precision: str, device: Device | None) -> AerSimulator:
    return AerSimulator(
        method=method,
        precision=precision,
        noise_model=None if device is None else _noise_model(device),
        max_parallel_experiments=0,  # one sample per thread: the circuits are small
    )


@lru_cache(maxsize=16)
def _noise_model(device: Device) -> NoiseModel:
    return aer_noise_model(device)


@lru_cache(maxsize=1)
def bindable_gates() -> frozenset[str]:
    """Return the gates of the table that Aer runs as they are, with the right angles.

    Without the parameterised controlled ones (``cp``, ``crx``, ``cu3``, ...): Aer 0.18 leaves their
    angles at 0 when it binds parameters itself (its issues 2323 and 2403).
    """
    known = AerSimulator(method="statevector").configuration().basis_gates
    exchange = {"rxx", "ryy", "rzz", "rzx"}
    safe = {n for n, g in GATES.items() if g.num_qubits == 1 or g.num_params == 0 or n in exchange}
    return frozenset(safe.intersection(known))


@lru_cache(maxsize=128)
def _ideal(program: Program) -> _Circuit:
    circuit, slots = slot_circuit(program, keep=bindable_gates() | {"unitary"})
    return _Circuit(circuit, slots, tuple(range(program.num_qubits)))


@lru_cache(maxsize=128)
def _noisy(transpiled: Transpiled) -> _Circuit:
    circuit, slots = slot_circuit(transpiled.native)
    result = _Circuit(circuit, slots, transpiled.measured, transpiled)
    coverage(_with_measurements(result), transpiled.reduced_device).check()
    angled = {use.name for use in transpiled.native.gates if use.slots}
    assert angled <= bindable_gates(), f"Aer cannot bind the angles of {angled - bindable_gates()}"
    return result


def _with_measurements(circuit: _Circuit) -> QuantumCircuit:
    n = len(circuit.measured)
    result = QuantumCircuit(circuit.circuit.num_qubits, n)
    result.compose(circuit.circuit, inplace=True)
    result.measure(circuit.measured, range(n))
    return result


def _bindings(circuit: _Circuit, angles: FloatArray) -> dict[Any, list[float]]:
    used = circuit.circuit.parameters
    return {p: angles[:, k].tolist() for k, p in enumerate(circuit.slots) if p in used}


def _probabilities(
    simulator: AerSimulator, items: Sequence[tuple[_Circuit, FloatArray]]
) -> list[FloatArray]:
    """Probabilities of what is read, ``(batch, 2**n)`` for each circuit with its angles."""
    tables = [np.empty((len(angles), 2 ** len(c.measured))) for c, angles in items]
    for parts in _portions(items):
        circuits, bindings = [], []
        for index, rows in parts:
            circuit, angles = items[index]
            saved = circuit.circuit.copy()
            saved.save_probabilities(list(circuit.measured))
            circuits.append(saved)
            bindings.append(_bindings(circuit, angles[rows]))
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


def _portions(items: Sequence[tuple[_Circuit, FloatArray]]) -> Iterator[list[tuple[int, slice]]]:
    """Split the work into calls of Aer that fit in memory: lists of (item, rows)."""
    portion: list[tuple[int, slice]] = []
    room = _GATES_PER_RUN
    for index, (circuit, angles) in enumerate(items):
        size = max(1, circuit.circuit.size())
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
