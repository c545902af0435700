"""Any Qiskit V2 primitive as a backend: local, Aer's, or a device's.

Every task is one broadcast PUB (primitive unified bloc) for an estimator and one per measurement
group for a sampler, and all tasks are one call of the primitive. Randomness is the primitive's own:
give it a seed when you make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, ParameterVector
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.primitives import EstimatorV2 as AerEstimator

from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import estimate, in_basis, measurement_bases
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.coverage import coverage
from nisqkit.noise.device import Device


class _PrimitiveBackend(Backend):
    """What estimators and samplers share: the device, transpiling, and binding."""

    def __init__(
        self,
        primitive: Any,
        device: Device | None,
        layout: Sequence[int] | None,
        optimization_level: int,
        seed: int,
    ) -> None:
        simulator = _machine(primitive)
        self.primitive = primitive
        self.device = device if device is not None else _device(simulator)
        self.noise_model = _noise_model(simulator)
        self.layout = None if layout is None else tuple(layout)
        self.optimization_level = optimization_level
        self.seed = seed
        if self.noise_model is not None and self.device is None:
            raise ValueError(
                "this primitive's simulator has a noise model, but does not say which gates it has "
                "on which qubits, so that gates would run without noise: give device=..., the "
                "device that the noise model is made from"
            )
        if self.device is None and layout is not None:
            raise ValueError(
                "layout needs a device: give device=Device.load(...), or leave layout out"
            )

    def _check_memory(self, program: Program) -> None:
        """Qiskit's own primitives hold the whole state here, in double precision."""
        if isinstance(self.primitive, (StatevectorEstimator, StatevectorSampler)):
            check_memory(program.num_qubits, 2 * 16 * 2**program.num_qubits)

    def transpile(self, program: Program) -> Transpiled | None:
        """Return the program as the device gets it, without measurements; None without a device."""
        if self.device is None:
            return None
        return self._transpile(program, self.layout)

    def _transpile(self, program: Program, layout: Sequence[int] | None) -> Transpiled:
        assert self.device is not None
        result = transpile_to(
            program,
            self.device,
            layout=layout,
            optimization_level=self.optimization_level,
            seed=self.seed,
        )
        if self.noise_model is not None:
            found = coverage(result.circuit, self.device)
            found.check()
            known = {*self.noise_model.noise_instructions, *(use.gate for use in found.virtual)}
            if lost := {use.gate for use in found.noisy} - known:
                raise ValueError(
                    f"the simulator's noise model has no noise for {', '.join(sorted(lost))} of "
                    f"{self.device.name}: give the device that the noise model is made from"
                )
        return result


class EstimatorBackend(_PrimitiveBackend):
    """An estimator as a backend: one PUB per task, all observables against all samples.

    With ``shots`` the estimator is asked for the precision ``1 / sqrt(shots)``, and `Result.std` is
    what it reports. If its backend has a gate set per qubit, circuits are transpiled for it and
    observables follow the layout.

    Exact values (``shots=None``) come from `StatevectorEstimator` and from Aer's `EstimatorV2`,
    which with ``shots`` add normal noise of this width to them. All others estimate from shots.

    Args:
        estimator: Any `BaseEstimatorV2`.
        device: What to transpile for; ``None`` takes it from the estimator's backend, if that has
            one.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.

    Raises:
        TypeError: ``estimator`` is not a V2 estimator.
        ValueError: Aer's estimator with readout errors, which it would ignore, or with noise but
            without ``method="density_matrix"``, where it would add an error of its own; a noise
            model without a device; a layout without a device.

    Example:
        >>> from nisqkit.circuits import Observables, angle, lower
        >>> program = lower(angle(2), inputs="x")
        >>> observables = Observables.parse(["ZZ", "XI"], 2)
        >>> task = Task(program, torch.zeros(1, 2), torch.zeros(0), observables)
        >>> EstimatorBackend(StatevectorEstimator()).run([task])[0].values
        tensor([[1., 0.]])
    """

    name = "qiskit:estimator"
    seeded = False

    def __init__(
        self,
        estimator: BaseEstimatorV2,
        *,
        device: Device | None = None,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
    ) -> None:
        if not isinstance(estimator, BaseEstimatorV2):
            raise TypeError(
                f"EstimatorBackend takes a V2 estimator, not {type(estimator).__name__}"
            )
        _check_aer(estimator)
        super().__init__(estimator, device, layout, optimization_level, seed)
        self.estimator = estimator
        self.exact = isinstance(estimator, (StatevectorEstimator, AerEstimator))

    def check(self, task: Task) -> None:
        """Raise if the task cannot be run; see also `transpile_to`.

        Raises:
            ValueError: ``shots=None`` for an estimator that is not exact, ``shots`` below 1,
                probabilities, or a circuit that does not fit the device.
        """
        _check_shots(task)
        if task.observables.sums is None:
            raise ValueError(
                "an estimator has no probabilities: give Pauli observables, or use a sampler for "
                "'probs'"
            )
        if task.shots is None and not self.exact:
            raise ValueError(
                f"{type(self.estimator).__name__} estimates from shots and has no exact values: "
                f"give shots, for example shots=4096"
            )
        self._check_memory(task.program)
        self.transpile(task.program)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`: one call of the estimator."""
        if not tasks:
            return []
        for task in tasks:
            self.check(task)
        results = self.estimator.run([self._pub(task) for task in tasks]).result()
        return [self._result(task, found.data) for task, found in zip(tasks, results, strict=True)]

    def _result(self, task: Task, data: Any) -> Result:
        values = _tensor(data.evs.T, task)
        if task.shots is None:
            return Result(values)
        if self.exact:  # it adds noise of this width, though Qiskit's reports a width of 0
            return Result(values, torch.full_like(values, task.shots**-0.5))
        return Result(values, _tensor(data.stds.T, task))

    def _pub(self, task: Task) -> tuple[Any, ...]:
        circuit, operators = self._prepared(task)
        circuit = _batchable(circuit, task)
        # a hair above 1 / sqrt(shots), so that no estimator rounds up to one shot more
        precision = 0.0 if task.shots is None else (1 + 1e-12) / sqrt(task.shots)
        return circuit, [[op] for op in operators], _bindings(circuit, task), precision

    def _prepared(self, task: Task) -> tuple[QuantumCircuit, list[SparsePauliOp]]:
        assert task.observables.sums is not None
        operators = [SparsePauliOp.from_list(terms) for terms in task.observables.sums]
        transpiled = self.transpile(task.program)
        if transpiled is None:
            native = not isinstance(self.estimator, StatevectorEstimator)
            return slot_circuit(task.program, native=native)[0], operators
        width = transpiled.circuit.num_qubits
        layout = list(transpiled.layout)
        return transpiled.circuit, [op.apply_layout(layout, width) for op in operators]


class SamplerBackend(_PrimitiveBackend):
    """A sampler as a backend: one PUB per task and measurement group, with all samples as bindings.

    The rotations into a group's basis are part of the circuit; if the sampler's backend has a gate
    set per qubit, they are transpiled with it. Values and standard errors come from the bitstrings,
    which all observables of a group share, so that covariances are in `Result.std`.

    Args:
        sampler: Any `BaseSamplerV2`.
        device: What to transpile for; ``None`` takes it from the sampler's backend, if that has
            one.
        layout: Physical qubits of the logical ones; ``None`` lets Qiskit choose. Only with a
            device.
        optimization_level: Of Qiskit's transpiler, 0 to 3.
        seed: Of Qiskit's transpiler.

    Raises:
        TypeError: ``sampler`` is not a V2 sampler.
        ValueError: A noise model without a device, or a layout without a device.

    Example:
        >>> from nisqkit.circuits import Observables, angle, lower
        >>> program = lower(angle(2), inputs="x")
        >>> observables = Observables.parse("ZZ", 2)
        >>> task = Task(program, torch.zeros(1, 2), torch.zeros(0), observables, shots=100)
        >>> SamplerBackend(StatevectorSampler(seed=1)).run([task])[0].values
        tensor([[1.]])
    """

    name = "qiskit:sampler"
    exact = False
    seeded = False

    def __init__(
        self,
        sampler: BaseSamplerV2,
        *,
        device: Device | None = None,
        layout: Sequence[int] | None = None,
        optimization_level: int = 2,
        seed: int = 0,
    ) -> None:
        if not isinstance(sampler, BaseSamplerV2):
            raise TypeError(f"SamplerBackend takes a V2 sampler, not {type(sampler).__name__}")
        super().__init__(sampler, device, layout, optimization_level, seed)
        self.sampler = sampler

    def check(self, task: Task) -> None:
        """Raise if the task cannot be run; see also `transpile_to`.

        Raises:
            ValueError: ``shots`` is ``None`` or below 1, or the circuit does not fit the device.
        """
        _check_shots(task)
        if task.shots is None:
            raise ValueError("a sampler has no exact values: give shots, for example shots=4096")
        self._check_memory(task.program)
        for basis in measurement_bases(task.observables):
            self._circuit(task.program, basis)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`: one call of the sampler."""
        if not tasks:
            return []
        pubs = []
        for task in tasks:
            self.check(task)
            for basis in measurement_bases(task.observables):
                circuit = _batchable(self._circuit(task.program, basis), task)
                pubs.append((circuit, _bindings(circuit, task), task.shots))
        found = iter(self.sampler.run(pubs).result())
        return [
            _estimate(
                [next(found).data.meas.array for _ in measurement_bases(task.observables)], task
            )
            for task in tasks
        ]

    def _circuit(self, program: Program, basis: str) -> QuantumCircuit:
        """The circuit with its measurement: bit k of register ``meas`` is logical qubit k."""
        body = self.transpile(program)
        measured = in_basis(program.by_slots, basis)
        if body is None:
            native = not isinstance(self.sampler, StatevectorSampler)
            circuit, _ = slot_circuit(measured, native=native)
            layout: Sequence[int] = range(program.num_qubits)
        else:
            transpiled = body
            if measured != body.program:  # every basis starts on the same qubits
                transpiled = self._transpile(measured, body.initial_layout)
            circuit, layout = transpiled.circuit.copy(), transpiled.layout
        circuit.add_register(ClassicalRegister(program.num_qubits, "meas"))
        circuit.measure(layout, range(program.num_qubits))
        return circuit


def primitive_backend(
    primitive: BaseEstimatorV2 | BaseSamplerV2, **options: Any
) -> EstimatorBackend | SamplerBackend:
    """Return the backend for a V2 estimator or sampler.

    Args:
        primitive: The estimator or the sampler.
        **options: Keywords of `EstimatorBackend` and `SamplerBackend`.

    Raises:
        TypeError: It is neither.

    Example:
        >>> primitive_backend(StatevectorSampler()).name
        'qiskit:sampler'
    """
    if isinstance(primitive, BaseEstimatorV2):
        return EstimatorBackend(primitive, **options)
    if isinstance(primitive, BaseSamplerV2):
        return SamplerBackend(primitive, **options)
    raise TypeError(
        f"a primitive is a Qiskit V2 estimator or sampler (BaseEstimatorV2, BaseSamplerV2), not "
        f"{type(primitive).__name__}"
    )


def _machine(primitive: Any) -> Any:
    """The simulator or machine behind a primitive, or None."""
    # Qiskit, Aer and the runtime agree on the name, and on nothing public
    return getattr(primitive, "_backend", None)


def _noise_model(machine: Any) -> NoiseModel | None:
    return machine.options.noise_model if isinstance(machine, AerSimulator) else None


def _device(machine: Any) -> Device | None:
    """The device to transpile for; None for a simulator that runs any gate on any qubits."""
    if machine is None or (isinstance(machine, AerSimulator) and machine.coupling_map is None):
        return None
    return Device.from_backend(machine)


def _check_aer(estimator: BaseEstimatorV2) -> None:
    """Refuse Aer's estimator where it would return other values than the noise model's."""
    model = _noise_model(_machine(estimator))
    if not isinstance(estimator, AerEstimator) or model is None:
        return
    if "measure" in model.noise_instructions:
        raise ValueError(
            "Aer's EstimatorV2 ignores the readout errors of its noise model: use backend='aer' "
            "with noise=device, a SamplerV2, or a noise model without readout errors"
        )
    if _machine(estimator).options.method != "density_matrix":
        raise ValueError(
            "Aer's EstimatorV2 with noise averages over a fixed number of random runs unless it "
            "simulates density matrices, and its precision says nothing about that: make it with "
            "options={'backend_options': {'method': 'density_matrix', ...}}"
        )


def _check_shots(task: Task) -> None:
    if task.shots is not None and task.shots < 1:
        raise ValueError(f"shots is {task.shots}: give a positive number")


def _batchable(circuit: QuantumCircuit, task: Task) -> QuantumCircuit:
    """The circuit with at least one parameter: Aer's primitives see no batch without one."""
    if circuit.parameters or task.batch == 1:
        return circuit
    result = circuit.copy()
    result.global_phase = ParameterVector("slot", 1)[0]
    return result


def _bindings(circuit: QuantumCircuit, task: Task) -> NDArray[np.float64]:
    """Values of the circuit's parameters, ``(batch, number of parameters)``."""
    with torch.no_grad():
        angles = slot_angles(task.program, task.inputs, task.weights).double().cpu().numpy()
    if circuit.parameters and not angles.shape[1]:  # the one of `_batchable`
        return np.zeros((task.batch, 1))
    return angles[:, [p.index for p in circuit.parameters]]


def _tensor(values: NDArray[np.float64], task: Task) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values)).to(task.inputs.device, task.inputs.dtype)


def _estimate(bits: Sequence[NDArray[np.uint8]], task: Task) -> Result:
    """Values and standard errors from packed bitstrings, per group ``(batch, shots, bytes)``.

    Parities are taken shot by shot, so that the number of qubits may be large.
    """
    observables, n = task.observables, task.program.num_qubits
    if observables.sums is None:
        weights = 256 ** np.arange(bits[0].shape[-1])[::-1]
        outcomes = bits[0] @ weights
        counts = np.array([np.bincount(row, minlength=2**n) for row in outcomes])
        result = estimate([counts], observables, task.inputs.dtype)
        assert result.std is not None
        return Result(result.values.to(task.inputs.device), result.std.to(task.inputs.device))
    mean = np.zeros((task.batch, observables.num_outputs))
    variance = np.zeros_like(mean)
    for (_, members), group in zip(observables.groups, bits, strict=True):
        masks = np.array([_mask(observables.strings[m], group.shape[-1]) for m in members])
        coefficients = observables.coefficients[:, list(members)]
        for sample, shots in enumerate(group):
            ones = np.bitwise_count(masks[:, None] & shots).sum(axis=-1)
            values = coefficients @ (1.0 - 2.0 * (ones & 1))
            mean[sample] += values.mean(axis=1)
            variance[sample] += values.var(axis=1) / max(1, values.shape[1] - 1)
    return Result(_tensor(mean, task), _tensor(np.sqrt(variance), task))


def _mask(string: str, num_bytes: int) -> NDArray[np.uint8]:
    """The bits of the qubits that a Pauli string reads, packed like `BitArray.array`."""
    number = sum(1 << q for q, letter in enumerate(reversed(string)) if letter != "I")
    return np.frombuffer(number.to_bytes(num_bytes, "big"), dtype=np.uint8)
