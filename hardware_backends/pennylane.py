"""PennyLane's devices as a backend.

All tapes of a call go to the device together. Gradients of exact values:

- ``default.qubit``: backprop. A batch is one tape (parameter broadcasting).
- ``lightning.*``: the device's adjoint method, one tape per sample. It is wrapped as a torch
  function here, since PennyLane's own torch interface rounds lightning's results to float32.
- other devices: none, so that gradients come from shifted copies.

Simulators give exact probabilities, from which shots are drawn by the task's seed alone. Any other
device samples by itself, and only its own seed counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nisqkit.circuits.amplitude import convert_angles, synthesise
from nisqkit.circuits.names import unknown
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.pennylane_gates import import_pennylane, operators
from nisqkit.circuits.pennylane_writer import to_pennylane_observable
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.memory import check_memory
from nisqkit.hardware_backends.sampling import draw, estimate, in_basis, measurement_bases, signs
from nisqkit.noise.noisy_program import NoisyProgram
from nisqkit.noise.pennylane_io import pennylane_operations

_BACKPROP = ("default.qubit",)
_ADJOINT = ("lightning.qubit", "lightning.kokkos", "lightning.gpu")
_SIMULATORS = (*_BACKPROP, *_ADJOINT, "default.mixed")


class PennyLaneBackend(Backend):
    """Runs programs on a PennyLane device, on the CPU and in double precision.

    Args:
        device: The name of an installed device, or a device object. Its wires must be numbered from
            0; wire ``k`` is qubit ``k``.
        device_options: Passed on to `qp.device`, such as ``wires=4``.

    Raises:
        ValueError: No installed device has this name; in `run`, a device with too few wires.
        TypeError: Neither a name nor a device, or options for a device object.
        ImportError: PennyLane is not installed.

    Example:
        >>> from nisqkit.circuits import Observables, angle, lower
        >>> task = Task(
        ...     lower(angle(2), inputs="x"),
        ...     torch.tensor([[0.0, torch.pi / 3]]),
        ...     torch.zeros(0),
        ...     Observables.parse(None, 2),
        ... )
        >>> PennyLaneBackend("default.qubit").run([task])[0].values
        tensor([[1.0000, 0.5000]])
    """

    def __init__(self, device: Any = "default.qubit", **device_options: Any) -> None:
        qp = import_pennylane()
        self._made_from = (device, device_options)
        if isinstance(device, str):
            installed = {entry.name for entry in entry_points(group="pennylane.plugins")}
            if device not in installed:
                raise ValueError(unknown("PennyLane device", device, installed))
            device = qp.device(device, **device_options)
        elif not isinstance(device, qp.devices.Device):
            raise TypeError(
                "device must be the name of a PennyLane device or a device object, "
                f"not {type(device).__name__}"
            )
        elif device_options:
            raise TypeError(
                f"options {sorted(device_options)} go with a device's name, not with an object"
            )
        self.device = device
        self.name = f"pennylane:{device.name}"
        if device.name in _BACKPROP:
            self.gradient = "backprop"
        elif device.name in _ADJOINT:
            self.gradient = "adjoint"
        self.seeded = device.name in _SIMULATORS

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        device, options = self._made_from  # devices that have run cannot always be copied
        return partial(PennyLaneBackend, device, **options), ()

    def check(self, task: Task) -> None:
        """Refuse circuits that the device's wires or the memory cannot hold."""
        n, wires = task.program.num_qubits, self.device.wires
        if wires is not None and not set(range(n)) <= set(wires):
            raise ValueError(
                f"{self.name} has the wires {wires.tolist()}, but the circuit needs wires 0 to "
                f"{n - 1}: create the device with wires={n} or more"
            )
        if self.seeded:
            copies = task.batch if self.gradient == "backprop" else 1
            check_memory(n, 2 * 16 * 2**n * copies)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        plans = []
        for task in tasks:
            self.check(task)
            plans.append(self._plan(task))
        results = iter(self._execute([tape for plan in plans for tape in plan.tapes]))
        return [plan.read([next(results) for _ in plan.tapes]) for plan in plans]

    def _plan(self, task: Task) -> Plan:
        """The tapes of a task, and how to read their results."""
        if not task.batch:
            empty = task.inputs.new_zeros(0, task.observables.num_outputs)
            return Plan([], lambda _: Result(empty, None if task.shots is None else empty))
        if task.shots is None:
            tapes, read = self._exact(task)
            return Plan(tapes, lambda results: Result(read(results).to(task.inputs)))
        with torch.no_grad():
            parts = [self._outcomes(task, basis) for basis in measurement_bases(task.observables)]
        return Plan(
            [tape for part in parts for tape in part.tapes],
            lambda results: self._estimate(task, parts, iter(results)),
        )

    def _exact(self, task: Task) -> Plan:
        """Exact outputs, ``(batch, num_outputs)``."""
        program, observables, angles = (
            task.program,
            task.observables,
            program_angles(task.program, task),
        )
        if self.gradient == "adjoint" and angles.requires_grad:
            # differentiates gates and expectation values, but no states or probabilities
            program, matrix = synthesise(program)
            angles = convert_angles(task.program, matrix, angles)
            if observables.sums is None:
                strings = ["".join(letters) for letters in product("IZ", repeat=program.num_qubits)]
                mix = torch.as_tensor(signs(strings)) / len(strings)
                return self._expectations(program, angles, strings, mix)
        return self._values(program, angles, observables)

    def _values(
        self, program: Program | NoisyProgram, angles: Tensor, observables: Observables
    ) -> Plan:
        """Expectation values, or all probabilities of the program's qubits."""
        if observables.sums is None:
            return self._tapes(program, angles, None)
        mix = torch.as_tensor(observables.coefficients.T)
        return self._expectations(program, angles, list(observables.strings), mix)

    def _expectations(
        self, program: Program | NoisyProgram, angles: Tensor, strings: list[str], mix: Tensor
    ) -> Plan:
        """Expectation values of Pauli strings, times a matrix."""
        measured = [k for k, string in enumerate(strings) if set(string) != {"I"}]
        constant = mix.sum(dim=0) - mix[measured].sum(dim=0)
        if not measured:
            return Plan([], lambda _: constant.expand(len(angles), -1))
        tapes, read = self._tapes(program, angles, [strings[k] for k in measured])
        return Plan(tapes, lambda results: constant + read(results) @ mix[measured])

    def _outcomes(self, task: Task, basis: str) -> Plan:
        """Exact probabilities of a simulator or counts of another device, ``(batch, 2**n)``."""
        program, angles = in_basis(task.program, basis), program_angles(task.program, task)
        if self.seeded:
            return self._tapes(program, angles, None)
        qp, n, shots = import_pennylane(), program.num_qubits, task.shots
        assert shots is not None
        measured = [qp.sample(wires=range(n))]
        tapes = [
            qp.tape.QuantumScript(_operations(program, row), measured, shots=shots)
            for row in angles.tolist()
        ]

        def count(results: list[Any]) -> Tensor:
            bits = [np.asarray(r, dtype=np.int64).reshape(shots, n) for r in results]
            rows = [np.bincount(b @ 2 ** np.arange(n), minlength=2**n) for b in bits]
            return torch.as_tensor(np.array(rows))

        return Plan(tapes, count)

    def _estimate(self, task: Task, parts: list[Plan], results: Iterator[Any]) -> Result:
        assert task.shots is not None
        tables = [part.read([next(results) for _ in part.tapes]).numpy() for part in parts]
        counts = draw(tables, task.shots, task.seed) if self.seeded else tables
        found = estimate(counts, task.observables, task.inputs.dtype)
        assert found.std is not None
        return Result(found.values.to(task.inputs), found.std.to(task.inputs))

    def _tapes(
        self, program: Program | NoisyProgram, angles: Tensor, strings: list[str] | None
    ) -> Plan:
        """Expectation values of Pauli strings, or all probabilities: ``(batch, results)``."""
        qp, batch = import_pennylane(), len(angles)
        if strings is None:  # PennyLane takes the first wire as the most significant bit
            measured = [qp.probs(wires=range(program.num_qubits)[::-1])]
        else:
            measured = [qp.expval(to_pennylane_observable(string)) for string in strings]
        plain = program.program if isinstance(program, NoisyProgram) else program
        batched = set(plain.angle_map.batched_slots)
        rows: list[Sequence[Tensor]]
        if plain is not program:
            # default.mixed rounds gates to single precision where an angle is a scalar tensor
            rows = [(angles if batched else angles[:1]).unbind(dim=1)]
        elif self.gradient == "backprop":
            columns = angles.unbind(dim=1)
            rows = [[c if s in batched else c[0] for s, c in enumerate(columns)]]
        else:
            rows = [list(row) for row in (angles if batched else angles[:1])]
        tapes = [qp.tape.QuantumScript(_operations(program, row), measured) for row in rows]

        def read(results: list[Any]) -> Tensor:
            tables = []
            for result in results:
                parts = result if isinstance(result, (tuple, list)) else (result,)
                values = [torch.as_tensor(p, dtype=torch.float64) for p in parts]
                tables.append(values[0] if strings is None else torch.stack(values, dim=-1))
            table = torch.cat([t.reshape(-1, t.shape[-1]) for t in tables])
            return table.expand(batch, -1)

        return Plan(tapes, read)

    def _execute(self, tapes: list[Any]) -> list[Any]:
        """Results of all tapes, in order."""
        qp = import_pennylane()
        if self.gradient == "backprop":
            return list(
                qp.execute(tapes, self.device, diff_method="backprop", interface="torch")
                if tapes
                else []
            )
        numbers = [qp.transforms.convert_to_numpy_parameters(tape)[0][0] for tape in tapes]
        trainable = [k for k, tape in enumerate(tapes) if _trainable(tape)]
        plain = [k for k in range(len(tapes)) if k not in trainable]
        results: dict[int, Any] = {}
        if plain:
            found = qp.execute([numbers[k] for k in plain], self.device, diff_method=None)
            results |= dict(zip(plain, found, strict=True))
        if trainable:
            found = _execute_adjoint(self.device, [tapes[k] for k in trainable])
            results |= dict(zip(trainable, found, strict=True))
        return [results[k] for k in range(len(tapes))]


class Plan(NamedTuple):
    """Tapes, and the function that turns their results into numbers."""

    tapes: list[Any]
    read: Callable[[list[Any]], Any]


def program_angles(program: Program, task: Task) -> Tensor:
    """The angles of a task, for a program that takes its inputs and weights."""
    return program.angles(task.inputs, task.weights).to("cpu", torch.float64)


def _operations(program: Program | NoisyProgram, angles: Sequence[Any]) -> list[Any]:
    """The PennyLane operators of a program; each angle is a number or a tensor."""
    qp = import_pennylane()
    if isinstance(program, NoisyProgram):
        noisy, program = program, program.program
        # the state is written here, where its amplitudes may be tensors
        rest = replace(noisy, program=replace(program, prepare=None))
        gates = [part for op in pennylane_operations(rest, angles) for part in _by_rz(op)]
        return _operations(replace(program, gates=()), angles) + gates
    operations: list[Any] = []
    if program.prepare is not None:
        amplitudes = [torch.as_tensor(angles[s]) for s in program.prepare.slots]
        zeros = [torch.zeros(())] * (2 ** len(program.prepare.qubits) - len(amplitudes))
        parts = torch.broadcast_tensors(*amplitudes, *zeros)  # type: ignore[no-untyped-call]
        state = torch.stack(parts, dim=-1)
        operations.append(qp.StatePrep(state, wires=program.prepare.qubits[::-1]))
    for use in program.gates:
        if use.name == "barrier":
            continue
        matrix = None if use.matrix is None else np.array(use.matrix)
        if matrix is not None:
            matrix = matrix.reshape(2 ** len(use.qubits), -1)
        operations += operators(use.name, use.qubits, [angles[s] for s in use.slots], matrix)
    return operations


def _by_rz(operation: Any) -> list[Any]:
    """An operator without PhaseShift, up to a phase that no density matrix has.

    PennyLane 0.45's ``default.mixed`` cuts torch's graph at a PhaseShift with a batch of angles, so
    that their gradient would be 0, and it decomposes U1, U2 and U3 into PhaseShift. A controlled U3
    fails with a batch of one.
    """
    qp, angles, wires = import_pennylane(), operation.parameters, operation.wires
    if operation.name in ("PhaseShift", "U1"):
        return [qp.RZ(angles[0], wires)]
    if operation.name in ("U2", "U3"):
        theta, phi, lam = angles if operation.name == "U3" else (np.pi / 2, *angles)
        return [qp.RZ(lam, wires), qp.RY(theta, wires), qp.RZ(phi, wires)]
    if operation.name == "C(U3)":
        theta, phi, lam = angles
        turned = [qp.CRZ(lam, wires), qp.CRY(theta, wires), qp.CRZ(phi, wires)]
        return [qp.RZ((phi + lam) / 2, wires[0]), *turned]
    return [operation]


def _trainable(tape: Any) -> list[int]:
    """Positions of the parameters that are in torch's graph."""
    parameters = tape.get_parameters(trainable_only=False)
    return [k for k, p in enumerate(parameters) if isinstance(p, Tensor) and p.requires_grad]


def _execute_adjoint(device: Any, tapes: list[Any]) -> list[Any]:
    """Expectation values of tapes with torch parameters, from a device with adjoint gradients."""
    qp = import_pennylane()
    config = qp.devices.ExecutionConfig(
        gradient_method="adjoint", use_device_gradient=True, grad_on_execution=True
    )
    config = device.setup_execution_config(config, tapes[0])
    for tape in tapes:
        tape.trainable_params = _trainable(tape)
    native, finish = device.preprocess_transforms(config)(tapes)
    parameters = [tape.get_parameters(trainable_only=False) for tape in native]
    which = [_trainable(tape) for tape in native]
    bound = []
    for tape, indices in zip(native, which, strict=True):
        (number,), _ = qp.transforms.convert_to_numpy_parameters(tape)
        number.trainable_params = indices
        bound.append(number)
    chosen = [p[k].to(torch.float64) for p, ks in zip(parameters, which, strict=True) for k in ks]
    flat: Tensor = _Adjoint.apply(device, config, bound, torch.stack(chosen))  # type: ignore[no-untyped-call]
    sizes = [len(tape.measurements) for tape in native]
    return list(finish([tuple(values) for values in torch.split(flat, sizes)]))


class _Adjoint(torch.autograd.Function):
    """All results of all tapes as one vector, with the Jacobians that the device computed."""

    @staticmethod
    def forward(ctx: Any, device: Any, config: Any, tapes: list[Any], parameters: Tensor) -> Tensor:
        results, jacobians = device.execute_and_compute_derivatives(tapes, config)
        ctx.blocks = [
            torch.as_tensor(np.array(jacobian, dtype=np.float64)).reshape(
                len(tape.measurements), len(tape.trainable_params)
            )
            for tape, jacobian in zip(tapes, jacobians, strict=True)
        ]
        return parameters.new_tensor(np.concatenate([np.ravel(r) for r in results]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, Tensor]:
        parts = torch.split(grad, [len(block) for block in ctx.blocks])
        columns = [part @ block for part, block in zip(parts, ctx.blocks, strict=True)]
        return None, None, None, torch.cat(columns)
