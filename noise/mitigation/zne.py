"""Zero-noise extrapolation: run with more noise, and extrapolate to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from nisqkit.circuits.names import unknown
from nisqkit.circuits.task import Task

from ..model import NoiseModel
from .base import Cost, Estimate, Mitigator, Round, of_part
from .extrapolation import check_scales, extrapolate
from .folding import fold
from .mitiq_factories import factories

FOLDINGS = ("global", "gates", "noise")


@dataclass(frozen=True)
class ZNE(Mitigator):
    """Zero-noise extrapolation.

    The circuit runs with its noise amplified by each scale factor, and its values are extrapolated
    to scale 0. Linear extrapolations are unbiased only where values depend on the noise as assumed;
    they always amplify statistical errors: the standard error is part of the result.

    Source: Temme et al., Phys. Rev. Lett. 119, 180509 (2017); Li and Benjamin, Phys. Rev. X 7,
    021050 (2017).

    Args:
        scale_factors: At least 1, increasing. Odd integers are reached exactly by folding.
        extrapolation: ``"richardson"``, ``"linear"``, ``"polynomial"``, ``"exponential"`` or, by
            Mitiq and without a gradient, ``"poly-exponential"``; see `extrapolate`.
        folding: ``"global"`` repeats the circuit as a whole, ``"gates"`` each gate; see `fold`.
            ``"noise"`` scales the noise model itself, which only simulators can: a yardstick for
            the other two.
        gates: With ``"gates"``: names of the gates to fold, such as ``("cx",)``.
        layers: With ``"gates"``: numbers of the layers to fold, from 0; on a device those of the
            transpiled circuit.
        degree: Of a polynomial.
        asymptote: Of an exponential.

    Raises:
        ValueError: An unknown extrapolation or folding, scale factors below 1, not increasing, or
            too few, or gates or layers with another folding than ``"gates"``.
        ImportError: ``"poly-exponential"`` without Mitiq.

    Example:
        >>> ZNE(scale_factors=(1, 2, 3), extrapolation="linear").cost()
        Cost(circuits=3, shots=3)
    """

    scale_factors: Sequence[float] = (1, 3, 5)
    extrapolation: str = "richardson"
    folding: str = "global"
    gates: Sequence[str] | None = None
    layers: Sequence[int] | None = None
    degree: int = 2
    asymptote: float = 0.0
    rank = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_factors", tuple(self.scale_factors))
        for word in ("gates", "layers"):
            given = getattr(self, word)
            object.__setattr__(self, word, None if given is None else tuple(given))
            if given is not None and self.folding in ("global", "noise"):
                raise ValueError(
                    f"{word}={list(given)} goes with folding='gates', not with {self.folding!r}"
                )
        check_scales(self.scale_factors, self.extrapolation, self.degree)
        if self.folding not in FOLDINGS:
            raise ValueError(unknown("folding", self.folding, FOLDINGS))
        if self.extrapolation == "poly-exponential":
            factories()  # an error now, and not after the circuits have run
            object.__setattr__(self, "differentiable", False)

    def cost(self) -> Cost:
        """As many circuits as scale factors, each with all shots."""
        return Cost(len(self.scale_factors), len(self.scale_factors))

    def check(self, task: Task, model: NoiseModel | None) -> None:
        """Refuse to scale noise that there is not, and gates that the circuit does not have."""
        if self.folding != "noise":
            fold(task.program, self.scale_factors[0], self.folding, self.gates, self.layers)
        if self.folding == "noise" and model is None:
            raise ValueError(
                "folding='noise' scales the noise model of a simulator, and this backend has none: "
                "use folding='global' or 'gates'"
            )

    def amplified(self, task: Task) -> list[Task]:
        """The task at each scale factor."""
        found = []
        for k, scale in enumerate(self.scale_factors):
            seed = of_part(task, k)
            if self.folding == "noise":
                found.append(replace(task, noise_scale=task.noise_scale * scale, seed=seed))
            else:
                program = fold(task.program, scale, self.folding, self.gates, self.layers)
                found.append(replace(task, program=program, seed=seed))
        return found

    def run(self, task: Task, model: NoiseModel | None) -> Round:
        """See `Mitigator.run`."""
        results = yield self.amplified(task)
        values = torch.stack([result.values for result in results])
        known = [result.std for result in results if result.std is not None]
        std = torch.stack(known) if len(known) == len(results) else None
        return Estimate(
            *extrapolate(
                self.scale_factors,
                values,
                std,
                self.extrapolation,
                degree=self.degree,
                asymptote=self.asymptote,
            )
        )
