"""FLOPs that a training step needs after fusion: the numerator of our share of the roofline.

Real additions and multiplications, counted per amplitude and sample from the blocks of the native
engine's schedule; a multiply-add counts as two. What the engine computes beyond this does not count
in its favour, and small things do not count at all (building the matrices and their gradients,
which are the same for the whole batch or as small as one amplitude).

Applying a matrix. A row with k entries that are not zero takes k complex products and k - 1 sums:

- ``8 k - 2`` per amplitude if the entries are complex (2x2: 14, 4x4: 30, diagonal: 6);
- ``4 k - 2`` if they are real (RY: 6);
- 0 for a row of the identity (half of the rows of a controlled gate) and for CX, CZ and SWAP.

The angles' gradients, from the overlaps of state and co-state, with d the number of rows that are
not the identity's. Only the anti-Hermitian part of the d x d overlaps is needed: d diagonal terms
of 4 FLOPs and ``d (d - 1) / 2`` pairs of 16, spread over the amplitudes of the group:

- 12 per amplitude for a 2x2 matrix, 28 for a 4x4;
- real matrices need 8 per pair and no diagonal (RY: 4); diagonal ones the diagonal only (4);
- 0 for a matrix without angles.

Backward, every matrix is applied twice more, to un-apply it on the state and on the co-state.

At either end: matrices that come first on their qubits make a product state (``2 * 6`` per
amplitude, ``2 * 1`` if all are real) and need not be un-applied. Expectation values of Z on every
qubit take 3 for the weight of an amplitude and 2 for the sums (halving); their co-state takes 2 for
its diagonal and 2 for the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from peers.nisqkit_layer import circuit
from workloads import Workload

from nisqkit.circuits.lower import lower
from nisqkit.hardware_backends.native.schedule import ONE, TWO, Block, schedule

ENDS = 3 + 2 + 2 + 2
"""Per amplitude, of expectation values and co-state."""


@dataclass
class Row:
    """Blocks of one form: how many, and FLOPs per amplitude of one of them."""

    what: str
    count: int
    forward: float
    backward: float


@dataclass(frozen=True)
class Count:
    """FLOPs of one step.

    Attributes:
        rows: By form of block.
        amplitudes: ``2**qubits * batch``.
    """

    rows: list[Row]
    amplitudes: int

    @property
    def per_amplitude(self) -> float:
        """FLOPs per amplitude."""
        return sum(r.count * (r.forward + r.backward) for r in self.rows)

    @property
    def total(self) -> float:
        """FLOPs of the step."""
        return self.amplitudes * self.per_amplitude


@dataclass(frozen=True)
class _Form:
    """Which entries of a block's matrix can differ from the identity's."""

    nonzero: NDArray[np.bool_]
    identity: NDArray[np.bool_]
    real: bool
    angles: int

    @property
    def name(self) -> str:
        size = f"{len(self.nonzero)}x{len(self.nonzero)}"
        if not (self.nonzero & ~np.eye(len(self.nonzero), dtype=bool)).any():
            return f"diagonal {size}"
        kind = "controlled " if self.identity.any() else ""
        return f"{kind}{'real ' if self.real else ''}{size}"

    @property
    def apply(self) -> float:
        """FLOPs per amplitude to multiply with it."""
        entries = self.nonzero.sum(axis=1)
        cost = (4 if self.real else 8) * entries - 2
        return float(cost[~self.identity].sum()) / len(entries)

    @property
    def gradient(self) -> float:
        """FLOPs per amplitude for the gradients of its angles."""
        if not self.angles:
            return 0.0
        d = int((~self.identity).sum())
        diagonal = not (self.nonzero & ~np.eye(len(self.nonzero), dtype=bool)).any()
        on, off = (0, 8) if self.real else (4, 0) if diagonal else (4, 16)
        return (on * d + off * d * (d - 1) / 2) / len(self.nonzero)


def _form(block: Block) -> _Form:
    dim = 2 if block.kind == ONE else 4
    nonzero, identity, real = np.eye(dim, dtype=bool), np.ones(dim, dtype=bool), True
    for factor in block.factors:
        small = np.any([m != 0 for m in factor.matrices], axis=0)
        wide = np.eye(dim, dtype=bool)
        rows = sorted({r for pair in factor.pairs for r in pair}) or list(range(dim))
        if factor.pairs:
            for pair in factor.pairs:
                wide[np.ix_(pair, pair)] = small
        else:
            wide = small
        nonzero = (wide.astype(int) @ nonzero.astype(int)) > 0
        identity[rows] = False
        real = real and not any(np.imag(m).any() for m in factor.matrices)
    return _Form(nonzero, identity, real, sum(f.slot >= 0 for f in block.factors))


def count(workload: Workload) -> Count:
    """FLOPs of one training step with gradients for weights and inputs."""
    blocks = schedule(lower(circuit(workload), "x")).blocks
    rows: dict[str, Row] = {}
    seen: set[int] = set()
    first: list[_Form] = []
    for block in blocks:
        fresh = seen.isdisjoint(block.qubits)
        seen.update(block.qubits)
        if block.kind not in (ONE, TWO):
            rows.setdefault("CX, CZ", Row("CX, CZ", 0, 0.0, 0.0)).count += 1
            continue
        form = _form(block)
        if fresh and block.kind == ONE:
            first.append(form)
            what, forward, backward = f"first on its qubit: {form.name}", 0.0, form.gradient
        else:
            what, forward = form.name, form.apply
            backward = 2 * form.apply + form.gradient
        rows.setdefault(what, Row(what, 0, forward, backward)).count += 1
    if first:
        start = 2 * (1 if all(f.real for f in first) else 6)
        rows["product state"] = Row("product state", 1, start, 0.0)
    rows["ends"] = Row("Z on every qubit, and the co-state", 1, 5.0, ENDS - 5.0)
    return Count(list(rows.values()), 2**workload.qubits * workload.batch)
