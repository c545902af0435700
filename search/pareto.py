"""Several objectives at once: fronts, crowding, hypervolume, knee. All losses are minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def non_dominated_fronts(losses: ArrayLike) -> list[list[int]]:
    """Sort points into fronts.

    A point dominates another if it is nowhere worse and somewhere better. The first front is what
    nothing dominates, the second what nothing but the first dominates, and so on. Equal points
    are in the same front.

    Source: Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002).

    Args:
        losses: (points, objectives), finite.

    Returns:
        Indices, front by front, in rising order.

    Example:
        >>> non_dominated_fronts([[0, 1], [1, 0], [1, 1], [2, 2]])
        [[0, 1], [2], [3]]
    """
    points = np.asarray(losses, dtype=float)
    no_worse = np.all(points[:, None, :] <= points[None, :, :], axis=-1)
    dominates = np.logical_and(no_worse, ~no_worse.T)  # [i, j]: i dominates j
    dominators = dominates.sum(axis=0)
    left = np.ones(len(points), dtype=bool)
    fronts = []
    while left.any():
        front = np.flatnonzero(left & (dominators == 0))
        fronts.append(front.tolist())
        left[front] = False
        dominators = dominators - dominates[front].sum(axis=0)
    return fronts


def crowding_distances(losses: ArrayLike) -> NDArray[np.float64]:
    """How far apart the neighbours of each point of one front are.

    The sum over the objectives of the gap between the next lower and the next higher point, as a
    share of the front's range; infinite at the ends of any objective.

    Source: Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002).

    Args:
        losses: (points, objectives) of one front.

    Returns:
        (points,).

    Example:
        >>> crowding_distances([[0, 4], [1, 1], [4, 0]]).tolist()
        [inf, 2.0, inf]
    """
    points = np.asarray(losses, dtype=float)
    distances = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        low, high = column[order[0]], column[order[-1]]
        distances[order[[0, -1]]] = np.inf
        if high > low:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / (high - low)
    return distances


def hypervolume(losses: ArrayLike, reference: ArrayLike) -> float:
    """The volume that points dominate, up to a reference point.

    Exact, by slicing along the last objective; fine for the fronts of up to some 4 objectives.
    Points that are not below the reference in every objective count for nothing.

    Args:
        losses: (points, objectives).
        reference: (objectives,).

    Example:
        >>> hypervolume([[0, 1], [1, 0]], reference=[2, 2])
        3.0
    """
    corner = np.asarray(reference, dtype=float)
    points = np.asarray(losses, dtype=float).reshape(-1, len(corner))
    below = np.all(points < corner, axis=1)
    return _volume(np.unique(points[below], axis=0), corner)


def _volume(points: NDArray[np.float64], corner: NDArray[np.float64]) -> float:
    if len(points) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.append(points[:, -1], corner[-1])
    volume = 0.0
    for i in range(len(points)):
        if heights[i + 1] > heights[i]:
            flat = np.unique(points[: i + 1, :-1], axis=0)
            front = non_dominated_fronts(flat)[0]  # the rest adds nothing, but much work
            volume += (heights[i + 1] - heights[i]) * _volume(flat[front], corner[:-1])
    return float(volume)


def knee_index(losses: ArrayLike) -> int:
    """The point of a front that gives most for what it costs.

    With each objective scaled to [0, 1] over the front: the point that is furthest below the plane
    through the ends of the axes, which is the one with the least sum.

    Source: Das, Struct. Optim. 18, 107 (1999), with the plane through the unit points.

    Args:
        losses: (points, objectives) of one front.

    Returns:
        Its index.

    Example:
        >>> knee_index([[0, 10], [1, 1], [10, 0]])
        1
    """
    points = np.asarray(losses, dtype=float)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    return int(np.argmin(scaled.sum(axis=1)))


def best_by_rank_and_crowding(losses: Sequence[Sequence[float]], number: int) -> list[int]:
    """NSGA-II's survivors: whole fronts while they fit, of the next the least crowded points."""
    points = np.asarray(losses, dtype=float)
    chosen: list[int] = []
    for front in non_dominated_fronts(points):
        if len(chosen) + len(front) > number:
            distances = crowding_distances(points[front])
            order = np.argsort(-distances, kind="stable")
            return chosen + [front[i] for i in order[: number - len(chosen)].tolist()]
        chosen += front
    return chosen
