"""The variational quantum eigensolver: energies of circuits, and their minimum."""

from __future__ import annotations

import torch
from qiskit.quantum_info import SparsePauliOp
from torch import nn

from nisqkit.qml.super_circuit import SuperCircuit

H2 = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
"""Electrons of the hydrogen molecule at 0.735 angstrom, STO-3G, on two qubits; in hartree.

Its smallest eigenvalue is -1.8572750. Source: Qiskit's textbook example of VQE.
"""


def minimise(model: nn.Module, steps: int = 500, lr: float = 0.05, *, polish: bool = True) -> float:
    """Minimise the sum of what a module without inputs gives: an energy.

    Adam with a cosine schedule, and then L-BFGS to the digits that there are. A `SuperCircuit` in
    training mode draws another sub-circuit in each step, and is not polished.

    Args:
        model: Such as ``QuantumLayer(ansatz, observables=hamiltonian).double()``; trained in place.
        steps: Of Adam.
        lr: Learning rate at the beginning.
        polish: Whether L-BFGS follows.

    Returns:
        The energy at the end.

    Example:
        >>> from nisqkit.circuits import u3_cu3
        >>> from nisqkit.qml import QuantumLayer
        >>> layer = QuantumLayer(u3_cu3(2, blocks=2), observables=H2, seed=0).double()
        >>> abs(minimise(layer) + 1.8572750) < 1e-6
        True
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model().sum().backward()
        optimizer.step()
        schedule.step()
    if polish and not (isinstance(model, SuperCircuit) and model.training):
        precise = torch.optim.LBFGS(
            model.parameters(), max_iter=200, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            precise.zero_grad()
            energy = model().sum()
            energy.backward()
            return float(energy.detach())

        precise.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(model().sum())
