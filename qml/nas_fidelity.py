"""Whether a search may trust its scores: against transpiled circuits, and training from scratch."""

from __future__ import annotations

import numpy as np

from nisqkit.compression.rank_fidelity import RankFidelity, rank_fidelity
from nisqkit.qml.co_search import CoSearch
from nisqkit.qml.datasets import Dataset
from nisqkit.qml.evaluation import evaluate
from nisqkit.qml.fit import fit
from nisqkit.qml.nas_config import NasConfig
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.search import Study


def transpiling_agreement(study: Study, search: CoSearch) -> RankFidelity:
    """Whether losses by native blocks rank circuits as losses of transpiled ones do.

    Of up to 20 candidates drawn from all that were evaluated: finalists alone lie too near to each
    other to say.
    """
    rng = np.random.default_rng(0)
    distinct = study.distinct
    some = [distinct[k] for k in rng.permutation(len(distinct))[: min(20, len(distinct))]]
    real = [search.transpiled_loss(one.value) for one in some]
    return rank_fidelity([one.metrics["loss"] for one in some], real)


def super_fidelity(
    model: SuperCircuit, dataset: Dataset, config: NasConfig, count: int
) -> RankFidelity:
    """Whether inherited weights rank sub-circuits as training from scratch does.

    Args:
        model: A trained SuperCircuit.
        dataset: Losses are those of its validation split, without noise.
        config: How each is trained.
        count: How many sub-circuits are drawn uniformly.
    """
    rng = np.random.default_rng((config.seed, 1))
    inherited, scratch = [], []
    names = dataset.class_names
    for k in range(count):
        sub = model.design.space.sample(rng)
        inherited.append(evaluate(model.extract(sub), dataset.valid, names).loss)
        fresh = model.extract(sub, inherit=False, seed=config.seed * 1000 + k)
        state, _ = fit(fresh, dataset, config.training(config.epochs))
        scratch.append(state.best_loss)
    return rank_fidelity(inherited, scratch)
