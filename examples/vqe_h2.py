"""VQE: the ground state energy of the hydrogen molecule, from a circuit without inputs.

The Hamiltonian is that of H2 at a bond length of 0.735 angstrom in the STO-3G basis, on two qubits
(parity mapping, both symmetries used up). Energies are in hartree.
"""

import numpy as np
import torch
from qiskit.quantum_info import SparsePauliOp

from nisqkit.circuits import hardware_efficient
from nisqkit.qml import QuantumLayer

hamiltonian = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
nuclear_repulsion = 0.719968994449  # not part of the electrons' Hamiltonian

layer = QuantumLayer(hardware_efficient(2, layers=2), observables=hamiltonian, seed=0).double()
optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
for step in range(201):
    optimizer.zero_grad()
    energy = layer()[0]  # no inputs: one value per observable
    energy.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}: {energy.item() + nuclear_repulsion:.6f} hartree")

exact = np.linalg.eigvalsh(hamiltonian.to_matrix())[0]
print(f"exact:    {exact + nuclear_repulsion:.6f} hartree")
assert abs(layer().item() - exact) < 1e-4
