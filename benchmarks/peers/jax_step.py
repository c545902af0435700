"""A training step in JAX: ``jit`` of ``value_and_grad`` of ``vmap`` of an adapter's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from workloads import Data, Workload


class JaxStep:
    """Adapters define `model`."""

    precision = "complex64"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        self.workload = workload
        self.inputs, self.weights, self.target = (
            jnp.asarray(a) for a in (data.inputs, data.weights, data.target)
        )
        batched = jax.vmap(self.model(), in_axes=(0, None))

        def loss(weights: Any, inputs: Any) -> Any:
            outputs = batched(inputs, weights)
            return ((outputs - self.target) ** 2).mean(), outputs

        self._step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        self._forward = jax.jit(batched)

    def model(self) -> Callable[[Any, Any], Any]:
        """A function ``(inputs of one sample, weights) -> (qubits,)``."""
        raise NotImplementedError

    def step(self) -> None:
        """One training step without the optimiser."""
        self.found = jax.block_until_ready(self._step(self.weights, self.inputs))

    def forward(self) -> Any:
        """The outputs alone."""
        return self._forward(self.inputs, self.weights).block_until_ready()

    def release(self) -> None:
        """Nothing to let go of."""

    def result(self) -> list[Any]:
        """Outputs, loss, gradient of the weights, gradient of the inputs."""
        (loss, outputs), (g_weights, g_inputs) = self.found
        return [np.asarray(a) for a in (outputs, loss, g_weights, g_inputs)]
