"""TensorCircuit-NG in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorcircuit as tc

from peers.jax_step import JaxStep
from peers.tensorcircuit_circuit import outputs


class Step(JaxStep):
    """See `JaxStep`."""

    def model(self) -> Callable[[Any, Any], Any]:
        """See `JaxStep`."""
        tc.set_backend("jax")
        tc.set_dtype("complex64")
        return lambda inputs, weights: outputs(self.workload, inputs, weights)
