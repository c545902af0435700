"""A circuit as real matrix products alone, for what knows no complex numbers, such as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.base import Backend
from nisqkit.hardware_backends.native import NativeBackend
from nisqkit.hardware_backends.reference import ReferenceBackend, apply
from nisqkit.hardware_backends.torch_engine import TorchBackend

LARGEST = 10
"""Most qubits of a circuit: its fixed parts are matrices of ``2**qubits`` rows."""

_PAULI = {
    "I": torch.eye(2, dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}


class RealCircuit(nn.Module):
    """The exact outputs of a circuit as a function of its inputs, in real arithmetic.

    A state is two real vectors. Neighbouring gates that depend on no input are one matrix, with the
    weights as they are now: this is for inference. ``forward(x)``: ``(..., num_inputs) ->
    (..., num_outputs)``.

    Args:
        program: the circuit, of up to 10 qubits.
        weights: (num_weights,).
        observables: what is measured.

    Raises:
        ValueError: more qubits.

    Example:
        >>> from nisqkit.circuits import angle, lower
        >>> program, measured = lower(angle(1), inputs="x"), Observables.parse(None, 1)
        >>> RealCircuit(program, torch.zeros(0), measured)(torch.tensor([[0.0], [torch.pi]]))
        tensor([[ 1.],
                [-1.]])
    """

    def __init__(self, program: Program, weights: Tensor, observables: Observables) -> None:
        super().__init__()
        if program.num_qubits > LARGEST:
            raise ValueError(
                f"the circuit has {program.num_qubits} qubits; up to {LARGEST} can be written as "
                "real matrices"
            )
        self.program = program
        self.dtype = weights.dtype
        self._constants = 0
        weights = weights.detach().double()
        self.angles = _Angles(program, weights, self.dtype)
        values = self._angles_of_weights(program, weights)
        batched = set(program.angle_map.batched_slots)
        self.parts: list[Any] = []
        fixed: list[GateUse] = []
        for use in program.gates:
            if use.name == "barrier":
                continue
            if batched & set(use.slots):
                self._add_fixed(fixed, values)
                fixed = []
                self.parts.append(self._gate(use))
            else:
                fixed.append(use)
        self._add_fixed(fixed, values)
        self.start = None if program.prepare is None else self._start(program)
        self.outputs = self._outputs(observables)

    def _angles_of_weights(self, program: Program, weights: Tensor) -> Tensor:
        """All angles at zero inputs; those that depend on inputs are not looked at."""
        inputs = torch.full((1, len(program.inputs)), 0.5, dtype=torch.float64)
        return program.angle_map(inputs, weights)

    def _keep(self, matrix: Tensor) -> tuple[str, str]:
        """Store a complex matrix as two buffers."""
        names = []
        for part in (matrix.real, matrix.imag):
            name = f"constant_{self._constants}"
            self._constants += 1
            self.register_buffer(name, part.to(self.dtype).contiguous())
            names.append(name)
        return names[0], names[1]

    def _add_fixed(self, gates: Sequence[GateUse], values: Tensor) -> None:
        if not gates:
            return
        n = self.program.num_qubits
        state = torch.eye(2**n, dtype=torch.complex128).reshape(2**n, *[2] * n)
        for use in gates:
            state = apply(state, use.gate.matrix(values[0, list(use.slots)]), use.qubits)
        # row k is what becomes of basis state k, so a row of amplitudes is multiplied from the left
        self.parts.append(self._keep(state.reshape(2**n, 2**n)))

    def _gate(self, use: GateUse) -> Any:
        factors = []
        for factor in use.gate.factors:
            angle = None if factor.param is None else use.slots[factor.param]
            kept = [self._keep(torch.as_tensor(part)) for part in factor.expansion]
            factors.append((factor.frequency, angle, kept if angle is not None else kept[:1]))
        return use.qubits, factors

    def _start(self, program: Program) -> str:
        assert program.prepare is not None
        where = torch.zeros(len(program.prepare.slots), 2**program.num_qubits, dtype=self.dtype)
        for i in range(len(program.prepare.slots)):
            index = sum(((i >> k) & 1) << q for k, q in enumerate(program.prepare.qubits))
            where[i, index] = 1
        self.register_buffer("where", where)
        return "where"

    def _outputs(self, observables: Observables) -> Any:
        if observables.sums is None:
            return None
        found = []
        for terms in observables.sums:
            size = 2**observables.num_qubits
            total = torch.zeros(size, size, dtype=torch.complex128)
            for string, coefficient in terms:
                matrix = torch.ones(1, 1, dtype=torch.complex128)
                for letter in string:
                    matrix = torch.kron(matrix, _PAULI[letter])
                total = total + coefficient * matrix
            found.append(total)
        if all(torch.equal(m, torch.diag(m.diagonal())) for m in found):
            return self._keep(torch.stack([m.diagonal() for m in found], dim=1))[0]
        return [self._keep(matrix.mT) for matrix in found]  # for rows of amplitudes

    def _buffer(self, name: str) -> Tensor:
        found: Tensor = getattr(self, name)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Exact outputs."""
        rows = x.reshape(-1, x.shape[-1]).to(self.dtype)
        angles = self.angles(rows)
        n = self.program.num_qubits
        if self.start is None:
            first = torch.zeros(1, 2**n, dtype=self.dtype, device=x.device)
            first[0, 0] = 1
            real = first.expand(rows.shape[0], 2**n)
        else:
            assert self.program.prepare is not None
            amplitudes = angles[:, list(self.program.prepare.slots)]
            amplitudes = amplitudes / amplitudes.abs().amax(dim=1, keepdim=True)
            amplitudes = amplitudes / amplitudes.square().sum(dim=1, keepdim=True).sqrt()
            real = amplitudes @ self._buffer(self.start)
        imag = torch.zeros_like(real)
        for part in self.parts:
            if isinstance(part[0], str):
                real, imag = _times(real, imag, *(self._buffer(name) for name in part))
            else:
                real, imag = self._run(real, imag, angles, *part)
        found = self._measure(real, imag)
        return found.reshape(*x.shape[:-1], found.shape[-1])

    def _run(
        self,
        real: Tensor,
        imag: Tensor,
        angles: Tensor,
        qubits: tuple[int, ...],
        factors: list[Any],
    ) -> tuple[Tensor, Tensor]:
        n = self.program.num_qubits
        # the last of the gate's axes is its first qubit, which is the least significant
        axes = [n - q for q in reversed(qubits)]
        rest = [k for k in range(1, n + 1) if k not in axes]
        order = [0, *rest, *axes]
        back = [order.index(k) for k in range(n + 1)]
        split = [-1, *[2] * n]
        flat = [-1, 2 ** (n - len(qubits)), 2 ** len(qubits)]
        state = [part.reshape(split).permute(order).reshape(flat) for part in (real, imag)]
        for frequency, slot, names in factors:
            parts = [[self._buffer(name).mT for name in pair] for pair in names]
            if slot is None:
                matrix = parts[0]
            else:
                phase = (frequency * angles[:, slot]).reshape(-1, 1, 1)
                c, s = phase.cos(), phase.sin()
                matrix = [c0 + c * c1 + s * c2 for c0, c1, c2 in zip(*parts, strict=True)]
            state = list(_times(state[0], state[1], matrix[0], matrix[1]))
        moved = [2 if k else -1 for k in range(n + 1)]
        real, imag = (part.reshape(moved).permute(back).reshape(-1, 2**n) for part in state)
        return real, imag

    def _measure(self, real: Tensor, imag: Tensor) -> Tensor:
        if self.outputs is None:
            return real.square() + imag.square()
        if isinstance(self.outputs, str):
            return (real.square() + imag.square()) @ self._buffer(self.outputs)
        columns = []
        for names in self.outputs:
            other = _times(real, imag, *(self._buffer(name) for name in names))
            columns.append((real * other[0] + imag * other[1]).sum(dim=1))
        return torch.stack(columns, dim=1)


class _Angles(nn.Module):
    """The angles of all slots as a function of the inputs alone."""

    def __init__(self, program: Program, weights: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        angle_map = program.angle_map
        self.nonlinear = angle_map.nonlinear
        first = len(angle_map.inputs)
        by_input = torch.zeros(first, angle_map.num_slots, dtype=torch.float64)
        constant = torch.tensor(angle_map.constants, dtype=torch.float64)
        for slot, parameter, factor in angle_map.terms:
            if parameter < first:
                by_input[parameter, slot] += factor
            else:
                constant[slot] += factor * weights[parameter - first]
        self.register_buffer("by_input", by_input.to(dtype))
        self.register_buffer("constant", constant.to(dtype))
        self.register_buffer("weights", weights.to(dtype))
        if self.nonlinear is not None:
            place = torch.zeros(len(self.nonlinear.slots), angle_map.num_slots, dtype=dtype)
            for k, slot in enumerate(self.nonlinear.slots):
                place[k, slot] = 1
            self.register_buffer("place", place)

    by_input: Tensor
    constant: Tensor
    weights: Tensor
    place: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, num_inputs) -> (batch, num_slots)``."""
        found = x @ self.by_input + self.constant
        if self.nonlinear is not None:
            values = self.nonlinear.function(x, self.weights.expand(x.shape[0], -1))
            found = found + values.to(x.dtype) @ self.place
        return found


def _times(real: Tensor, imag: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``(real + i imag)(a + i b)``."""
    return real @ a - imag @ b, real @ b + imag @ a


def real_circuit(circuit: nn.Module, name: str) -> RealCircuit:
    """A circuit module in real arithmetic.

    Args:
        circuit: a `QuantumLayer`, or a module with its ``program``, ``weights``, ``observables``,
            ``execution`` and ``shots``.
        name: for messages.

    Raises:
        ValueError: it has not these; it has noise, mitigation or shots; its backend is none of
            ours (such as a queued machine, which runs circuits and not files); or as `RealCircuit`.
    """
    kind = type(circuit).__name__
    found = {n: getattr(circuit, n, None) for n in ("program", "weights", "observables")}
    execution, shots = getattr(circuit, "execution", None), getattr(circuit, "shots", None)
    program, weights, observables = found.values()
    if (
        not isinstance(program, Program)
        or not isinstance(weights, Tensor)
        or not isinstance(observables, Observables)
        or execution is None
    ):
        missing = [n for n, value in found.items() if value is None] or ["execution"]
        raise ValueError(
            f"{name!r} ({kind}) cannot be exported: it describes itself, but has no "
            f"{', '.join(missing)} as a QuantumLayer has; export the parts around it"
        )
    backend: Backend = execution.resolved
    exact = (NativeBackend, TorchBackend, ReferenceBackend)
    why = ""
    if execution.noise is not None or getattr(backend, "binder", None) is not None:
        why = "simulates noise"
    elif execution.mitigators:
        why = "mitigates errors"
    elif shots is not None:
        why = f"measures {shots} shots"
    elif type(backend) not in exact:
        queued = "" if backend.exact else ", which runs jobs on shots or in a queue"
        why = f"runs on backend {backend.name!r}{queued}"
    if why:
        raise ValueError(
            f"{name!r} ({kind}) {why}, and a file can only hold exact values without noise: export "
            "layer.with_backend('native') in its place"
        )
    return RealCircuit(program, weights, observables)
