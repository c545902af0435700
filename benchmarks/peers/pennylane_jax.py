"""PennyLane's ``default.qubit`` in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import pennylane as qp

from peers.jax_step import JaxStep
from peers.pennylane_circuit import qnode


class Step(JaxStep):
    """See `JaxStep`."""

    def model(self) -> Callable[[Any, Any], Any]:
        """See `JaxStep`."""
        device = qp.device("default.qubit", wires=self.workload.qubits)
        circuit = qnode(self.workload, device, interface="jax", diff_method="backprop")
        return lambda inputs, weights: jnp.stack(circuit(inputs, weights))
