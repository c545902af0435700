"""How sub-circuits are drawn while a SuperCircuit is trained.

Each is a pure function of the draw before it, the step, and a generator. Source: Wang et al.,
QuantumNAS, HPCA 2022 (arXiv:2107.10845), and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.circuits.names import unknown


@dataclass(frozen=True)
class Genes:
    """A sub-circuit written out: a number for every layer of the SuperCircuit, used or not.

    Attributes:
        numbers: One for each layer, block by block.
        blocks: How many of the blocks are used.
    """

    numbers: tuple[int, ...]
    blocks: int

    def subcircuit(self, design: DesignSpace) -> list[dict[str, int]]:
        """The sub-circuit, without what is not used."""
        names = [layer.name for layer in design.layers]
        return [
            dict(zip(names, self.numbers[b * len(names) :], strict=False))
            for b in range(self.blocks)
        ]

    def differences(self, other: Genes) -> int:
        """In how many positions two differ; the number of blocks is one of them."""
        apart = sum(a != b for a, b in zip(self.numbers, other.numbers, strict=True))
        return apart + (self.blocks != other.blocks)


@dataclass(frozen=True)
class PlainSampling:
    """Every number on its own and uniformly."""

    def draw(
        self,
        design: DesignSpace,
        before: Genes | None,
        step: int,
        total: int,
        rng: np.random.Generator,
    ) -> Genes:
        """The sub-circuit of a step.

        Args:
            design: The space.
            before: The draw of the step before; None in the first one.
            step: From 0.
            total: Number of steps.
            rng: Where randomness comes from.
        """
        top = _top(design)
        numbers = tuple(int(rng.integers(1, most + 1)) for most in top)
        return Genes(numbers, int(rng.integers(1, design.num_blocks + 1)))


@dataclass(frozen=True)
class RestrictedSampling:
    """Neighbours in time differ in few numbers, so that training them disturbs little.

    Args:
        changes: How many numbers are drawn again in each step, all different ones; the number of
            blocks counts as one.
    """

    changes: int = 7

    def draw(
        self,
        design: DesignSpace,
        before: Genes | None,
        step: int,
        total: int,
        rng: np.random.Generator,
    ) -> Genes:
        """See `PlainSampling.draw`."""
        if before is None:
            return PlainSampling().draw(design, None, step, total, rng)
        return _redrawn(design, before, self.changes, 1, rng)


@dataclass(frozen=True)
class ProgressiveSampling:
    """From the largest sub-circuits to all: the smallest number of blocks falls as training goes.

    It starts with the SuperCircuit and goes on as `RestrictedSampling`. The lower bound of the
    number of blocks falls in equal parts from the top to 1 over the first ``chunks`` of ``stages``
    stages of training, and stays.

    Args:
        changes: As in `RestrictedSampling`.
        stages: Stages of the whole training.
        chunks: Stages in which the bound falls.
    """

    changes: int = 7
    stages: int = 40
    chunks: int = 3

    def lowest(self, design: DesignSpace, step: int, total: int) -> int:
        """The smallest number of blocks in a step.

        Example:
            >>> design = DesignSpace("u3cu3", num_qubits=4)
            >>> [ProgressiveSampling().lowest(design, step, 400) for step in (0, 10, 20, 400)]
            [6, 3, 1, 1]
        """
        stage = step * self.stages // max(1, total)
        chunk = min(stage, self.chunks - 1)
        return 1 + round((design.num_blocks - 1) * (1 - (chunk + 1) / self.chunks))

    def draw(
        self,
        design: DesignSpace,
        before: Genes | None,
        step: int,
        total: int,
        rng: np.random.Generator,
    ) -> Genes:
        """See `PlainSampling.draw`."""
        if before is None:
            return Genes(_top(design), design.num_blocks)
        return _redrawn(design, before, self.changes, self.lowest(design, step, total), rng)


Sampling = PlainSampling | RestrictedSampling | ProgressiveSampling
SAMPLINGS: dict[str, type[Sampling]] = {
    "plain": PlainSampling,
    "restricted": RestrictedSampling,
    "progressive": ProgressiveSampling,
}


def sampling(name: str) -> Sampling:
    """One of `SAMPLINGS` by name.

    Raises:
        ValueError: There is none of this name.

    Example:
        >>> sampling("restricted")
        RestrictedSampling(changes=7)
    """
    if name not in SAMPLINGS:
        raise ValueError(unknown("sampling", name, SAMPLINGS))
    return SAMPLINGS[name]()


def _top(design: DesignSpace) -> tuple[int, ...]:
    """The largest number of every layer."""
    return tuple(number for block in design.largest for number in block.values())


def _redrawn(
    design: DesignSpace, before: Genes, changes: int, lowest: int, rng: np.random.Generator
) -> Genes:
    top = _top(design)
    numbers = list(before.numbers)
    blocks = before.blocks
    for place in rng.permutation(len(top) + 1)[:changes].tolist():
        if place == len(top):
            blocks = int(rng.integers(lowest, design.num_blocks + 1))
        else:
            numbers[place] = int(rng.integers(1, top[place] + 1))
    return Genes(tuple(numbers), blocks)
