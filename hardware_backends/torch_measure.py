"""Measurement of the torch engine: outputs of final states, and the co-state of their gradient."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.torch_matrices import Constants

LOW_QUBITS = 10
"""Signs of a Pauli string are a product of those of these qubits and those of the rest."""


def _signs(strings: list[str], first: int, last: int) -> NDArray[np.float64]:
    """Signs that Y and Z on the qubits ``first ... last - 1`` give to each of their states."""
    states = np.arange(2 ** (last - first))
    signs = np.ones((len(strings), len(states)))
    for row, string in zip(signs, strings, strict=True):
        for q, letter in enumerate(string[::-1][first:last]):
            if letter in "YZ":
                row *= 1 - 2 * ((states >> q) & 1)
    return signs


@dataclass(frozen=True, eq=False)
class _Flip:
    """Pauli strings with X or Y on the same qubits.

    Attributes:
        shape, axes: The amplitudes as an array whose ``axes`` are to be reversed.
        constants: ``low`` (strings, 2**low), ``high`` (2**high, strings, 1), and
            (strings, 1, 2) each: ``turn``, real and imaginary part of ``i**k`` for ``k`` letters Y,
            and ``phase``, its conjugate.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    constants: Constants

    @classmethod
    def make(cls, strings: list[str]) -> _Flip:
        runs = [(flip, len(list(run))) for flip, run in groupby(strings[0], lambda c: c in "XY")]
        low = min(len(strings[0]), LOW_QUBITS)
        turns = [s.count("Y") % 4 for s in strings]
        real, imaginary = np.array([1.0, 0, -1, 0])[turns], np.array([0.0, 1, 0, -1])[turns]
        return cls(
            tuple(2**length for _, length in runs),
            tuple(k for k, (flip, _) in enumerate(runs) if flip),
            Constants(
                low=_signs(strings, 0, low),
                high=_signs(strings, low, len(strings[0])).T[..., None].copy(),
                phase=np.stack([real, -imaginary], axis=-1)[:, None],
                turn=np.stack([real, imaginary], axis=-1)[:, None],
            ),
        )

    def flipped(self, state: Tensor) -> Tensor:
        """The amplitude of ``i`` with these qubits flipped, at ``i``; ``(2**n, batch)``."""
        return state.reshape(*self.shape, state.shape[1]).flip(self.axes).reshape(state.shape)

    def values(self, state: Tensor) -> Tensor:
        """Expectation value of each string, ``(strings, batch)``."""
        made = self.constants.on(state)
        if not self.axes:
            return self._sums(made, state.real.square() + state.imag.square())
        products = torch.view_as_real(self.flipped(state).conj() * state)
        sums = self._sums(made, products.flatten(1))
        sums = sums.reshape(len(sums), state.shape[1], 2)
        return (sums * made["phase"]).sum(-1)

    def costate(self, state: Tensor, grad: Tensor) -> Tensor:
        """``sum_s grad_s P_s state`` for ``grad`` of shape ``(strings, batch)``."""
        made = self.constants.on(state)
        if not self.axes:
            return self._spread(made, grad) * state
        weights = self._spread(made, (grad[..., None] * made["turn"]).flatten(1))
        pairs = weights.reshape(*state.shape, 2)
        return self.flipped(torch.view_as_complex(pairs) * state)

    def _sums(self, made: dict[str, Tensor], rows: Tensor) -> Tensor:
        """Sums of real rows ``(2**n, columns)`` with each string's signs."""
        high, low = made["high"], made["low"]
        parts = rows.reshape(len(high), low.shape[1], rows.shape[1])
        return (high * (low @ parts)).sum(0)

    def _spread(self, made: dict[str, Tensor], columns: Tensor) -> Tensor:
        """The transpose of `_sums`."""
        return (made["low"].T @ (made["high"] * columns)).flatten(0, 1)


class Measurement:
    """Observables as torch needs them.

    Example:
        >>> one = torch.tensor([[0], [1]], dtype=torch.complex64)
        >>> Measurement(Observables.parse(["X", "Z"], 1)).values(one)
        tensor([[ 0., -1.]])
    """

    def __init__(self, observables: Observables) -> None:
        self.probabilities = observables.sums is None
        flips: dict[tuple[bool, ...], list[int]] = {}
        for k, string in enumerate(observables.strings):
            flips.setdefault(tuple(c in "XY" for c in string), []).append(k)
        self._flips = [
            _Flip.make([observables.strings[k] for k in found]) for found in flips.values()
        ]
        lengths = [len(found) for found in flips.values()]
        self._starts = tuple(sum(lengths[:k]) for k in range(len(lengths)))
        if not self.probabilities:
            order = [k for found in flips.values() for k in found]
            self._constants = Constants(coefficients=observables.coefficients[:, order])

    def values(self, state: Tensor) -> Tensor:
        """Outputs ``(batch, num_outputs)`` of states ``(2**n, batch)``, differentiable."""
        if self.probabilities:
            return (state.real.square() + state.imag.square()).T
        values = torch.cat([flip.values(state) for flip in self._flips])
        return (self._constants.on(state)["coefficients"] @ values).T

    def costate(self, state: Tensor, grad: Tensor) -> Tensor:
        """The gradient of the state in torch's convention, from that of the outputs."""
        if self.probabilities:
            return 2 * grad.T * state
        grads = 2 * (self._constants.on(state)["coefficients"].T @ grad.T)
        parts = grads.tensor_split(self._starts[1:])
        costates = [f.costate(state, part) for f, part in zip(self._flips, parts, strict=True)]
        return sum(costates[1:], costates[0])


def measurement(program: Program, observables: Observables) -> Measurement:
    """The measurement of observables; kept with the program."""
    key = (measurement, observables)
    if key not in program.cache:
        program.cache[key] = Measurement(observables)
    found: Measurement = program.cache[key]
    return found
