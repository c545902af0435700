"""What a search for a circuit does, and who watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nisqkit.circuits.design_sampling import SAMPLINGS
from nisqkit.circuits.design_spaces import DESIGN_SPACES
from nisqkit.circuits.names import unknown
from nisqkit.qml.co_search import SCORES
from nisqkit.qml.config import TrainConfig
from nisqkit.qml.fit import Watcher
from nisqkit.search import Budget, Study

_OPTIMISED = ("score", "loss", "two_qubit_gates", "depth", "parameters", "duration_seconds")


@dataclass(frozen=True, kw_only=True)
class NasConfig:
    """What a search for a circuit does. Two with equal configs find the same.

    Attributes:
        task: a task of `nisqkit.qml.datasets.available_datasets()`.
        data_dir: folder with the task's files, for tasks that need some.
        device: the device that circuits are searched for.
        space: one of `DESIGN_SPACES`.
        blocks: blocks of the SuperCircuit; None: as in `DESIGN_SPACES`.
        arbitrary: whether layers keep any of their gates instead of the first ones.
        sampling: how the SuperCircuit is trained, one of `SAMPLINGS`.
        super_epochs: passes over the training split for it.
        score: one of `nisqkit.qml.co_search.SCORES`.
        calibrate: whether the loss is taken at the best scale of the logits, see
            `CoSearch.classifying`; False: as QuantumNAS was published.
        objectives: what is minimised: ``"score"``, and with it ``"two_qubit_gates"``, ``"depth"``,
            ``"parameters"``, ``"duration_seconds"`` for a Pareto front.
        budgets: hard limits such as ``"two_qubit_gates<=40"``.
        evaluations: candidates of the search.
        sampler: ``"evolution"`` (one objective), ``"nsga2"``, ``"random"``, ``"regularized"``;
            None: one of the first two.
        samples: validation samples that score a candidate.
        finalists: how many of the best are transpiled for real; the best of these wins.
        fidelity: how many sub-circuits are also trained from scratch, to see whether inherited
            weights rank them rightly; 0: none.
        epochs: passes over the training split for the winner, trained from scratch.
        prune: share of the winner's angles that is pruned at the end; None: none.
        batch_size, lr, weight_decay: of all training.
        seed: of everything random.

    Raises:
        ValueError: an unknown name, or a number that cannot work.

    Example:
        >>> NasConfig(device="fake_yorktown", budgets=("two_qubit_gates<=40",)).space
        'u3cu3'
    """

    task: str = "digits4"
    data_dir: str | None = None
    device: str
    space: str = "u3cu3"
    blocks: int | None = None
    arbitrary: bool = False
    sampling: str = "restricted"
    super_epochs: int = 100
    score: str = "loss"
    calibrate: bool = True
    objectives: tuple[str, ...] = ("score",)
    budgets: tuple[str, ...] = ()
    evaluations: int = 1600
    sampler: str | None = None
    samples: int = 500
    finalists: int = 10
    fidelity: int = 12
    epochs: int = 60
    prune: float | None = None
    batch_size: int = 32
    lr: float = 0.01
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        object.__setattr__(self, "budgets", tuple(self.budgets))
        for name, allowed in (
            ("space", DESIGN_SPACES),
            ("sampling", SAMPLINGS),
            ("score", SCORES),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(unknown(name, value, allowed))
        for name in self.objectives:
            if name not in _OPTIMISED:
                raise ValueError(unknown("objective", name, _OPTIMISED))
        if "score" not in self.objectives:
            raise ValueError(
                f"objectives={list(self.objectives)} lack 'score': without it the smallest circuit "
                "would be the best"
            )
        for budget in self.budgets:
            Budget.parse(budget)
        for name in ("super_epochs", "evaluations", "samples", "finalists", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.fidelity == 1 or self.fidelity < 0:
            raise ValueError(f"fidelity={self.fidelity} must be 0, or at least 2 to compare")

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return asdict(self) | {
            "objectives": list(self.objectives),
            "budgets": list(self.budgets),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NasConfig:
        """From what `to_dict` gave.

        Raises:
            ValueError: a field that there is not.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise ValueError(unknown("field of NasConfig", name, names))
        return cls(**values)

    def training(self, epochs: int, **more: Any) -> TrainConfig:
        """How circuits of this search are trained."""
        return TrainConfig(
            task=self.task,
            data_dir=self.data_dir,
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_epochs=epochs // 10,
            seed=self.seed,
            **more,
        )


class NasWatcher:
    """What a search tells while it goes on. This one is silent; override what you want to see."""

    def stage(self, text: str) -> None:
        """A stage begins."""

    def training(self) -> Watcher:
        """Who watches a training run."""
        return Watcher()

    def searched(self, done: int, total: int, study: Study) -> None:
        """So many candidates are finished."""
