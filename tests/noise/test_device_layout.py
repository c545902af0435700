from itertools import combinations

import numpy as np
import pytest

from nisqkit.noise import Device, GateCalibration
from nisqkit.noise.device_layout import qubit_positions


def device(num_qubits: int, edges: list[tuple[int, int]]) -> Device:
    times = (1e-4,) * num_qubits
    gates = tuple(GateCalibration("cx", edge, 0.01, 3e-7) for edge in edges)
    readout = ((0.01, 0.02),) * num_qubits
    return Device("own", gates, times, times, readout)


def crossings(places: np.ndarray, edges: list[tuple[int, int]]) -> int:
    def left(a: int, b: int, c: int) -> bool:
        (ax, ay), (bx, by), (cx, cy) = places[[a, b, c]]
        return bool((bx - ax) * (cy - ay) > (by - ay) * (cx - ax))

    return sum(
        left(*one, other[0]) != left(*one, other[1])
        and left(*other, one[0]) != left(*other, one[1])
        for one, other in combinations(edges, 2)
        if not set(one) & set(other)
    )


LATTICES = (
    *("fake_belem", "fake_casablanca", "fake_melbourne", "fake_guadalupe", "fake_almaden"),
    *("fake_hanoi", "fake_rochester", "fake_brisbane", "fake_fez", "fake_berlin"),
)


@pytest.mark.parametrize("name", LATTICES)
def test_lattices_of_real_machines_are_drawn_without_crossings(name: str) -> None:
    machine = Device.load(name)
    places = qubit_positions(machine)
    edges = sorted({(min(pair), max(pair)) for pair in machine.coupling})
    assert places.shape == (machine.num_qubits, 2)
    assert crossings(places, edges) == 0
    lengths = [np.linalg.norm(places[a] - places[b]) for a, b in edges]
    assert min(lengths) > 0.75 and max(lengths) < 1.5
    # disks of a third of an edge never overlap
    apart = [np.linalg.norm(places[a] - places[b]) for a, b in combinations(range(len(places)), 2)]
    assert min(apart) > 0.7
    width, height = np.ptp(places, axis=0)
    assert width >= 0.95 * height
    assert np.allclose(places.min(axis=0), 0)


def test_a_chain_is_straight_level_and_in_order() -> None:
    places = qubit_positions(device(6, [(k + 1, k) for k in range(5)]))
    assert np.allclose(places, [[k, 0] for k in range(6)], atol=1e-3)


def test_a_ring_is_round() -> None:
    places = qubit_positions(device(8, [(k, (k + 1) % 8) for k in range(8)]))
    assert np.ptp(np.linalg.norm(places - places.mean(axis=0), axis=1)) < 1e-3


def test_a_star_has_its_centre_in_the_middle() -> None:
    places = qubit_positions(device(5, [(2, 0), (2, 1), (2, 3), (2, 4)]))
    assert np.allclose(places[2], places.mean(axis=0), atol=1e-3)
    rays = np.delete(places, 2, axis=0) - places[2]
    assert np.allclose(sorted(np.diff(np.sort(np.arctan2(*rays.T)))), np.pi / 2, atol=1e-2)


def test_parts_without_an_edge_between_them_stand_apart() -> None:
    places = qubit_positions(device(5, [(0, 1), (2, 3)]))
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert apart[0, 1] < 1.2 and apart[2, 3] < 1.2
    assert min(apart[0, 2], apart[1, 3], apart[0, 4], apart[2, 4]) > 1.5


def test_one_qubit_and_no_edges() -> None:
    assert qubit_positions(device(1, [])).tolist() == [[0.0, 0.0]]
    assert np.linalg.norm(np.diff(qubit_positions(device(2, [])), axis=0)) > 1
