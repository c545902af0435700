"""What readout errors do: to observables (exactly, before anything runs) and to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.observables import Observables

from .noisy_program import NoisyProgram


def through_readout(observables: Observables, noisy: NoisyProgram) -> Observables:
    """The observables that a perfect readout would have to measure to see the same values.

    A string's letter P on a qubit with flip probabilities ``P(1|0)`` and ``P(0|1)`` becomes

    ``(P(0|1) - P(1|0)) I + (1 - P(1|0) - P(0|1)) P``,

    which is the transposed confusion matrix applied to P's eigenvalues. Confusions of several
    qubits are expanded in the same way; qubits of theirs that the string leaves out are read in
    the Z basis. Letters other than Z are thought to be turned to Z before the readout.

    Args:
        observables: On the logical qubits. Those for probabilities stay what they are: see
            `confuse`.
        noisy: The program that is measured.

    Returns:
        Observables on all qubits of the program, with logical qubit k at ``noisy.measured[k]``;
        equal strings of a sum are merged.

    Raises:
        ValueError: The observables are on another number of qubits than are measured.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import Confusion, NoiseModel
        >>> flips = Confusion.flips(0, read_1_after_0=0.01, read_0_after_1=0.04)
        >>> model = NoiseModel("flips", {}, ideal=["x"], readout=[flips])
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.x(0)
        >>> found = through_readout(Observables.parse("Z", 1), model.bind(lower(circuit)))
        >>> [(string, round(coefficient, 6)) for string, coefficient in found.sums[0]]
        [('I', 0.03), ('Z', 0.95)]
    """
    _check_width(observables.num_qubits, noisy)
    if observables.sums is None:
        return Observables(noisy.num_qubits, None)
    sums = []
    for terms in observables.sums:
        merged: dict[str, float] = {}
        for string, coefficient in terms:
            for seen, factor in _expand(_placed(string, noisy), noisy).items():
                merged[seen] = merged.get(seen, 0.0) + coefficient * factor
        # a readout that is right half of the time leaves nothing of a Pauli operator
        sums.append(tuple(merged.items()) or (("I" * noisy.num_qubits, 0.0),))
    return Observables(noisy.num_qubits, tuple(sums))


def confuse(probabilities: Tensor, noisy: NoisyProgram) -> Tensor:
    """Probabilities of what is read, given those of what is there; differentiable.

    Args:
        probabilities: Shape ``(batch, 2**num_qubits)``, over all qubits of the program.
        noisy: The program that is measured.

    Returns:
        Shape ``(batch, 2**len(measured))``: bit k of a column's number is logical qubit k.

    Raises:
        ValueError: Another number of columns.

    Example:
        >>> from qiskit import QuantumCircuit
        >>> from nisqkit.circuits import lower
        >>> from nisqkit.noise import Confusion, NoiseModel
        >>> flips = Confusion.flips(1, read_1_after_0=0.01, read_0_after_1=0.04)
        >>> model = NoiseModel("flips", {}, ["measure"], [flips])
        >>> noisy = model.bind(lower(QuantumCircuit(2)), measured=[1])
        >>> confuse(torch.tensor([[0.5, 0.0, 0.5, 0.0]]), noisy)
        tensor([[0.5150, 0.4850]])
    """
    n, measured = noisy.num_qubits, noisy.measured
    if probabilities.shape[1] != 2**n:
        raise ValueError(
            f"probabilities have {probabilities.shape[1]} columns: give all {2**n} of the "
            f"{n} qubits of the program"
        )
    batch, m = len(probabilities), len(measured)
    table = probabilities.reshape(batch, *[2] * n)  # axis n - q is qubit q
    order = [n - q for q in reversed(measured)]
    rest = [axis for axis in range(1, n + 1) if axis not in order]
    table = table.permute(0, *order, *rest).reshape(batch, *[2] * m, 2 ** (n - m)).sum(dim=-1)
    for confusion in noisy.readout:
        axes = [m - measured.index(q) for q in reversed(confusion.qubits)]
        others = [axis for axis in range(m + 1) if axis not in axes]
        matrix = torch.as_tensor(confusion.array).to(table)
        front = table.permute(*axes, *others)
        columns = front.reshape(len(matrix), front.numel() // len(matrix))
        read = (matrix @ columns).reshape(front.shape)
        back = [(axes + others).index(axis) for axis in range(m + 1)]
        table = read.permute(*back)
    return table.reshape(batch, 2**m)


def _check_width(width: int, noisy: NoisyProgram) -> None:
    if width != len(noisy.measured):
        raise ValueError(
            f"the observables are on {width} qubits, and the program measures "
            f"{len(noisy.measured)}: give observables on as many qubits as are measured"
        )


def _placed(string: str, noisy: NoisyProgram) -> str:
    letters = ["I"] * noisy.num_qubits
    for letter, q in zip(reversed(string), noisy.measured, strict=True):
        letters[q] = letter
    return "".join(reversed(letters))


def _expand(string: str, noisy: NoisyProgram) -> dict[str, float]:
    """One Pauli string on the program's qubits, through all confusions."""
    terms = {string: 1.0}
    for confusion in noisy.readout:
        grown: dict[str, float] = {}
        for term, coefficient in terms.items():
            for seen, factor in read_through(term, confusion.qubits, confusion.array).items():
                grown[seen] = grown.get(seen, 0.0) + coefficient * factor
        terms = grown
    return terms


def read_through(
    string: str, qubits: Sequence[int], matrix: NDArray[np.float64]
) -> dict[str, float]:
    """A Pauli string through a matrix on some qubits' outcomes: its transpose on the eigenvalues.

    Args:
        string: Read right to left.
        qubits: Of the matrix, the first one least significant.
        matrix: ``[read, prepared]``; or its inverse, to undo it.

    Returns:
        Strings and their coefficients.
    """
    n, k = len(string), len(qubits)
    own = [string[n - 1 - q] for q in qubits]
    if set(own) == {"I"}:
        return {string: 1.0}
    bits = np.arange(2**k)
    # the sign that is read, averaged over what is read after each preparation
    read = np.ones(2**k)
    for position, letter in enumerate(own):
        if letter != "I":
            read = read * (1 - 2 * (bits >> position & 1))
    seen = matrix.T @ read
    found = {}
    for kept in product((False, True), repeat=k):
        basis = np.ones(2**k)
        letters = list(string)
        for position, (q, keep) in enumerate(zip(qubits, kept, strict=True)):
            letters[n - 1 - q] = ("Z" if own[position] == "I" else own[position]) if keep else "I"
            if keep:
                basis = basis * (1 - 2 * (bits >> position & 1))
        factor = float(basis @ seen) / 2**k
        if abs(factor) > 1e-15:
            found["".join(letters)] = factor
    return found
