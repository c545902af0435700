"""SuperCircuit: one set of weights for all circuits of a design space.

Source: Wang et al., QuantumNAS, HPCA 2022 (arXiv:2107.10845).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from torch import Tensor, nn

from nisqkit.circuits.design_sampling import Genes, Sampling, sampling
from nisqkit.circuits.design_spaces import DesignSpace, SubCircuit
from nisqkit.circuits.observables import ObservableLike
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.execute import execute
from nisqkit.qml.layer import QuantumLayer
from nisqkit.search import Space


class SuperCircuit(nn.Module):
    """A layer that is one of many circuits, which share their weights.

    In training, each forward pass runs a sub-circuit of its own, drawn as `sample` says, so that
    the weights become good for all of them; in evaluation it runs the `active` one, which is the
    largest until `set_active`. A sub-circuit is a mask on the program: nothing is compiled again.
    Everything random is a function of the seed and the number of steps, which is part of the
    ``state_dict``.

    Args:
        design: The design space.
        encoder: What comes before it; its parameters are the inputs. None: nothing.
        sample: ``"plain"``, ``"restricted"``, ``"progressive"``, or one with options.
        steps: Number of training steps in all, which progressive sampling needs.
        observables: As in `QuantumLayer`.
        head: From the outputs to what is learned, such as `GroupSum`.
        init: As in `QuantumLayer`.
        seed: Of the weights and the draws.

    Raises:
        ValueError: An encoder of another width, or an unknown sampling.

    Example:
        >>> from nisqkit.circuits import angle
        >>> design = DesignSpace("u3cu3", num_qubits=2, blocks=2)
        >>> model = SuperCircuit(design, angle(2), seed=0)
        >>> model(torch.zeros(5, 2)).shape, model.active_parameters  # drawn for this pass
        (torch.Size([5, 2]), 9)
        >>> _ = model.eval().set_active(design.largest)
        >>> model(torch.zeros(5, 2)).shape, model.active_parameters
        (torch.Size([5, 2]), 18)
    """

    genes: Tensor
    step: Tensor

    def __init__(
        self,
        design: DesignSpace,
        encoder: QuantumCircuit | None = None,
        *,
        sample: str | Sampling = "restricted",
        steps: int = 1000,
        observables: Sequence[ObservableLike] | ObservableLike | None = None,
        head: nn.Module | None = None,
        init: Any = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.design = design
        self.encoder = encoder or QuantumCircuit(design.num_qubits)
        if self.encoder.num_qubits != design.num_qubits:
            raise ValueError(
                f"the encoder has {self.encoder.num_qubits} qubits and the design space "
                f"{design.num_qubits}: make both of one width"
            )
        self.sampling = sampling(sample) if isinstance(sample, str) else sample
        self.steps, self.seed = steps, seed
        self.layer = QuantumLayer(
            self.encoder.compose(design.circuit()),
            inputs=list(self.encoder.parameters),
            observables=observables,
            init=init,
            seed=seed,
        )
        self.head = head or nn.Identity()
        self.active: SubCircuit = design.largest
        count = len(design.layers) * design.num_blocks
        # drawn last, the number of blocks at the end; a step of 0 says that nothing was
        self.register_buffer("genes", torch.zeros(count + 1, dtype=torch.int64))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._selected: dict[tuple[bool, ...], Program] = {}

    def __space__(self) -> Space:
        """What can vary: the sub-circuit."""
        return self.design.space

    def set_active(self, sub: SubCircuit) -> SuperCircuit:
        """Run this sub-circuit in evaluation.

        Raises:
            ValueError: It is none of the design space.
        """
        self.design.mask(sub)
        self.active = sub
        return self

    @property
    def active_parameters(self) -> int:
        """How many weights the sub-circuit has that ran last, or runs in evaluation."""
        return self.design.num_weights(self._sub())

    def _sub(self) -> SubCircuit:
        if not self.training:
            return self.active
        return self._genes().subcircuit(self.design)

    def _genes(self) -> Genes:
        *numbers, blocks = self.genes.tolist()
        return Genes(tuple(numbers), blocks)

    def mask(self, sub: SubCircuit) -> tuple[bool, ...]:
        """The mask of a sub-circuit over the groups of the whole program, encoder included."""
        return (True,) * len(self.encoder.data) + self.design.mask(sub)

    def program(self, sub: SubCircuit) -> Program:
        """The program of a sub-circuit, over the weights of all."""
        return self._of_mask(self.mask(sub))

    def _of_mask(self, mask: tuple[bool, ...]) -> Program:
        if mask not in self._selected:
            if len(self._selected) > 256:
                self._selected.clear()
            whole = self.layer.program
            self._selected[mask] = whole.select(mask[: whole.num_groups])
        return self._selected[mask]

    def forward(self, x: Tensor | None = None) -> Tensor:
        """Outputs of the head: ``(..., num_inputs) -> (..., outputs)``."""
        if self.training:
            self._draw()
        return self.of(self._sub(), x)

    def of(self, sub: SubCircuit, x: Tensor | None = None) -> Tensor:
        """Outputs of one sub-circuit, whatever the mode."""
        rows, shape = self.layer._rows(x)
        task = replace(self.layer._task(rows), program=self.program(sub))
        values = execute([task], self.layer.execution)[0].values
        outputs: Tensor = self.head(values.reshape(*shape, -1))
        return outputs

    def _draw(self) -> None:
        step = int(self.step)
        rng = np.random.default_rng((self.seed, step, 7))
        before = self._genes() if step else None
        genes = self.sampling.draw(self.design, before, step, self.steps, rng)
        self.genes.copy_(torch.tensor([*genes.numbers, genes.blocks]))
        self.step += 1

    def extract(self, sub: SubCircuit, *, inherit: bool = True, seed: int = 0) -> nn.Module:
        """A sub-circuit as a model of its own, with the head behind it.

        Args:
            sub: The sub-circuit.
            inherit: Whether it begins with the weights that it has here, or with fresh ones.
            seed: Of fresh weights.

        Returns:
            ``Sequential(QuantumLayer, head)``, or the layer alone where there is no head.
        """
        layer = QuantumLayer(
            self.encoder.compose(self.design.subcircuit(sub)),
            inputs=list(self.encoder.parameters),
            seed=seed,
        )
        layer.observables = self.layer.observables
        layer.to(self.layer.weights.dtype)
        if inherit:
            kept = torch.tensor(self.design.weight_mask(sub))
            with torch.no_grad():
                layer.weights.copy_(self.layer.weights[kept])
        return layer if isinstance(self.head, nn.Identity) else nn.Sequential(layer, self.head)
