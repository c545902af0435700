"""Where to draw the qubits of a device, so that neighbours stand side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path

from .device import Device

_STEPS = 300


def qubit_positions(device: Device) -> NDArray[np.float64]:
    """Positions at which distances in the picture are as near as can be to numbers of edges.

    Stress majorisation with weights 1 / distance**2, from where classical scaling puts the qubits.
    Chains, rings and the lattices of IBM's machines come out without crossings. The whole is
    turned until its long side is level. Parts that no edge connects stand apart.

    Source: Gansner, Koren, North, Graph Drawing by Stress Majorization (2004).

    Returns:
        Shape ``(num_qubits, 2)``, in units of about one edge; y points up.

    Example:
        >>> qubit_positions(Device.load("fake_santiago")).round(1).tolist()  # a chain
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]
    """
    n = device.num_qubits
    if n == 1:
        return np.zeros((1, 2))
    edges = np.array(device.coupling, dtype=np.intp).reshape(-1, 2)
    graph = np.zeros((n, n))
    graph[edges[:, 0], edges[:, 1]] = 1
    apart = shortest_path(graph, directed=False, unweighted=True)
    connected = np.isfinite(apart)
    apart[~connected] = apart[connected].max() + 2
    places = _majorised(apart, _scaled(apart))
    return _turned(places)


def _scaled(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Classical multidimensional scaling: the plane that fits the distances best."""
    n = len(apart)
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centring @ apart**2 @ centring)
    places: NDArray[np.float64] = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0.0))
    # points that coincide would never part
    spread = np.random.default_rng(0).normal(scale=1e-6, size=(n, 2))
    return places + spread


def _majorised(apart: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise the stress, the weighted sum of squared errors of the distances."""
    n = len(apart)
    off = ~np.eye(n, dtype=bool)
    weights = np.zeros_like(apart)
    weights[off] = apart[off] ** -2
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    for _ in range(_STEPS):
        seen = np.linalg.norm(places[:, None] - places[None], axis=2)
        pull = np.zeros_like(apart)
        pull[off] = -weights[off] * apart[off] / np.maximum(seen[off], 1e-9)
        pull -= np.diag(pull.sum(axis=1))
        places = inverse @ (pull @ places)
    return places


def _turned(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the long side level; the first qubits stand on the left and on top."""
    centred = places - places.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vectors[:, ::-1]
    order = np.arange(len(places)) - (len(places) - 1) / 2
    turned *= np.where(order @ turned * [1, -1] < 0, -1, 1)
    found: NDArray[np.float64] = turned - turned.min(axis=0)
    return found
