"""Operators on random trees, and sizes against exhaustive enumeration."""

import copy
import json
import math
from collections import Counter
from itertools import combinations, permutations, product
from typing import Any

import networkx as nx
import numpy as np
import pytest
from numpy.random import Generator

from nisqkit.search.space import (
    Choice,
    Float,
    Group,
    Injection,
    Int,
    Ordered,
    Repeat,
    Space,
    When,
    space_from_json,
)

LINE = [(0, 1), (1, 2), (2, 3), (3, 5), (5, 7)]


def random_leaf(rng: Generator, finite: bool) -> Space:
    kind = int(rng.integers(4 if finite else 5))
    if kind == 0:
        return Choice(["a", None, 3, 2.5, "b"][: int(rng.integers(1, 6))])
    if kind == 1:
        return Ordered([1, 2, 4, 8][: int(rng.integers(1, 5))])
    if kind == 2:
        low = int(rng.integers(-3, 3))
        return Int(low, low + int(rng.integers(0, 4)))
    if kind == 3:
        coupled = LINE if rng.random() < 0.5 else None
        return Injection(int(rng.integers(1, 4)), [7, 0, 1, 2, 3], coupled)
    return Float(0.5, 3.0, log=bool(rng.random() < 0.5))


def random_tree(rng: Generator, depth: int, finite: bool = False) -> Space:
    if depth == 0 or rng.random() < 0.2:
        return random_leaf(rng, finite)
    if rng.random() < 0.3:
        low = int(rng.integers(0, 2))
        return Repeat(Int(low, low + int(rng.integers(0, 3))), random_tree(rng, depth - 1, finite))
    members: dict[str, Space | When] = {}
    for i in range(int(rng.integers(1, 4))):
        space: Space | When = random_tree(rng, depth - 1, finite)
        siblings = {
            name: inner
            for name, member in members.items()
            if isinstance(inner := member.space if isinstance(member, When) else member, Choice)
        }
        if siblings and rng.random() < 0.7:
            name = list(siblings)[int(rng.integers(len(siblings)))]
            options = list(siblings[name].options)
            chosen = options[: int(rng.integers(1, len(options) + 1))]
            space = When(name, equals=chosen, space=space)
        members[f"m{i}"] = space
        members[f"c{i}"] = random_leaf(rng, finite)
    return Group(members)


def enumerate_values(space: Space) -> list[Any]:
    """All values, by brute force from the definition of each kind."""
    if isinstance(space, Choice | Int):
        return list(space.options)
    if isinstance(space, Injection):
        graph = nx.Graph()
        graph.add_nodes_from(space.allowed)
        graph.add_edges_from(e for e in space.coupled or [] if set(e) <= set(space.allowed))
        images = permutations(space.allowed, space.num_logical)
        free = space.coupled is None
        return [list(p) for p in images if free or nx.is_connected(graph.subgraph(p))]
    if isinstance(space, Repeat):
        items = enumerate_values(space.item)
        return [list(v) for n in space.count.options for v in product(items, repeat=n)]
    assert isinstance(space, Group)
    values: list[dict[str, Any]] = [{}]
    for name, member in space.members.items():
        longer = []
        for value in values:
            if isinstance(member, When):
                there = member.sibling in value and value[member.sibling] in member.equals
                options = enumerate_values(member.space) if there else None
            else:
                options = enumerate_values(member)
            longer += [value] if options is None else [{**value, name: o} for o in options]
        values = longer
    return values


TREES = [random_tree(np.random.default_rng(seed), 3) for seed in range(60)]


@pytest.mark.parametrize("seed", range(60))
def test_every_operator_returns_values_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = TREES[seed]
    for _ in range(20):
        a, b = space.sample(rng), space.sample(rng)
        before = copy.deepcopy((a, b))
        children = [
            space.mutate(a, rng),
            space.mutate(a, rng, probability=1.0),
            space.crossover(a, b, rng),
        ]
        assert (a, b) == before
        for value in [a, b, *children]:
            space.check(value)
            assert space.repair(value) == value
            assert json.loads(space.key(value)) == value  # plain JSON, floats to the last bit
            assert space.key(json.loads(json.dumps(value))) == space.key(value)
        assert space.mutate(a, rng, probability=0.0) == a
        assert space.key(space.crossover(a, a, rng)) == space.key(a)


def garbage(value: Any, rng: Generator) -> Any:
    """The value with random damage."""
    if rng.random() < 0.15:
        return [None, "x", -1, math.nan, [], {}, True, 10**6, [1, 1]][int(rng.integers(9))]
    if isinstance(value, dict):
        kept = {name: garbage(v, rng) for name, v in value.items() if rng.random() < 0.9}
        return kept | ({"extra": 1} if rng.random() < 0.3 else {})
    if isinstance(value, list):
        damaged = [garbage(v, rng) for v in value]
        return damaged * int(rng.integers(0, 3))
    return value


@pytest.mark.parametrize("seed", range(60))
def test_repair_makes_a_value_of_anything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = TREES[seed]
    for _ in range(20):
        damaged = garbage(space.sample(rng), rng)
        space.check(space.repair(damaged))
    for nonsense in (None, 3, "x", [], {}, [[]], math.nan, {"a": 1}):
        space.check(space.repair(nonsense))


def test_sizes_are_those_of_an_enumeration() -> None:
    sizes = []
    for seed in range(300):
        space = random_tree(np.random.default_rng(seed), 2, finite=True)
        if space.size() > 5000:
            continue
        values = enumerate_values(space)
        for value in values[:200]:
            space.check(value)
        assert len({space.key(value) for value in values}) == len(values) == space.size()
        sizes.append(len(values))
    assert len(sizes) > 100
    assert sum(size > 50 for size in sizes) > 30


def test_samples_reach_everything() -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        space = random_tree(np.random.default_rng(seed), 2, finite=True)
        if space.size() <= 60:
            found = {space.key(space.sample(rng)) for _ in range(4000)}
            assert found == {space.key(value) for value in enumerate_values(space)}


@pytest.mark.parametrize("seed", range(30))
def test_json_keeps_the_space(seed: int) -> None:
    space = TREES[seed]
    again = space_from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.fingerprint() == space.fingerprint()
    rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
    assert again.sample(rng) == space.sample(same)
    assert Space.from_json(space.to_json()) == space


def test_different_spaces_have_different_fingerprints() -> None:
    a, b = Int(1, 8), Int(1, 9)
    assert a != b
    assert len({space.fingerprint() for space in (a, b, Ordered([1, 2]), Choice([1, 2]))}) == 4
    # The order of the members decides which random numbers each gets.
    assert Group({"x": a, "y": b}) != Group({"y": b, "x": a})
    assert hash(Int(1, 8)) == hash(a)
    assert repr(a) == "Int(low=1, high=8)"


def test_infinite_sizes() -> None:
    assert Float(0, 1).size() == math.inf
    assert Group({"x": Int(1, 3), "y": Float(0, 1)}).size() == math.inf
    # An int beyond all floats beside an infinite size.
    many = Repeat(Int(400, 400), Int(0, 9))
    assert many.size() == 10**400
    assert Group({"x": many, "y": Float(0, 1)}).size() == math.inf


def test_ordered_mutates_to_neighbours() -> None:
    rng = np.random.default_rng(0)
    space = Ordered([1, 2, 4, 8])
    neighbours = {1: {2}, 2: {1, 4}, 4: {2, 8}, 8: {4}}
    for value, expected in neighbours.items():
        assert {space.mutate(value, rng, 1.0) for _ in range(100)} == expected


def test_a_choice_mutates_to_any_other() -> None:
    rng = np.random.default_rng(0)
    found = {Choice(["a", "b", "c"]).mutate("a", rng, 1.0) for _ in range(100)}
    assert found == {"b", "c"}


def test_the_share_of_genes_that_mutate() -> None:
    rng = np.random.default_rng(0)
    space = Group({f"g{i}": Int(1, 50) for i in range(100)})
    value = space.sample(rng)
    changed = 0
    for _ in range(100):
        child = space.mutate(value, rng, 0.4)
        changed += sum(child[name] != value[name] for name in value)
    assert abs(changed / 1e4 - 0.4) < 5 * math.sqrt(0.24 / 1e4)  # 5 sigma


def test_floats_mutate_near_and_samples_are_uniform() -> None:
    rng = np.random.default_rng(0)
    space = Float(1e-4, 1.0, log=True)
    logs = np.log10([space.sample(rng) for _ in range(4000)])
    # 1000 expected in each decade; 5 sigma of a binomial.
    counts = np.histogram(logs, bins=[-4, -3, -2, -1, 0])[0]
    assert (abs(counts - 1000) < 5 * math.sqrt(750)).all()
    steps = np.log10([space.mutate(1e-2, rng, 1.0) for _ in range(4000)]) + 2
    assert abs(steps.std() / 4 - 0.15) < 0.01  # 4 decades; the ends are 3.3 sigma away
    assert abs(steps.mean()) < 5 * 0.6 / math.sqrt(4000)


# --- injections ---


@pytest.mark.parametrize("coupled", [None, [*LINE, (1, 7), (1, 3)]])
def test_injections_are_sampled_uniformly(coupled: list[tuple[int, int]] | None) -> None:
    rng = np.random.default_rng(0)
    space = Injection(3, [0, 1, 2, 3, 5, 7], coupled)
    counts = Counter(space.key(space.sample(rng)) for _ in range(12_000))
    assert len(counts) == space.size()
    expected = 12_000 / len(counts)
    statistic = sum((n - expected) ** 2 / expected for n in counts.values())
    freedom = len(counts) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_large_connected_injections_are_grown() -> None:
    graph = nx.grid_2d_graph(9, 9)
    graph = nx.convert_node_labels_to_integers(graph)
    space = Injection(8, list(graph), list(graph.edges))
    rng = np.random.default_rng(0)
    a, b = space.sample(rng), space.sample(rng)
    for _ in range(100):
        a, b = space.crossover(a, b, rng), space.mutate(b, rng)
        for value in (a, b):
            space.check(value)
            assert nx.is_connected(graph.subgraph(value))


def test_connected_sets_of_a_lattice() -> None:
    graph = nx.convert_node_labels_to_integers(nx.hexagonal_lattice_graph(2, 2))
    for k in (1, 2, 4, 6):
        brute = sum(nx.is_connected(graph.subgraph(c)) for c in combinations(graph, k))
        size = Injection(k, list(graph), list(graph.edges)).size()
        assert size == brute * math.factorial(k)


def test_a_connected_injection_avoids_parts_that_are_too_small() -> None:
    space = Injection(3, [0, 1, 2, 3, 5], coupled=[(0, 1), (2, 3), (3, 5)])
    assert space.size() == 6  # 2, 3, 5 in any order
    assert sorted(space.repair([0, 1, 2])) == [2, 3, 5]


# --- bad input ---


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Choice([]), "Choice needs at least one option"),
        (lambda: Choice([1, True]), r"Choice got True \(or an equal option\) twice"),
        (lambda: Ordered([[1], [2]]), r"the option \[1\]; options are strings"),
        (lambda: Choice([math.nan]), "the option nan; options are"),
        (lambda: Int(3, 1), r"Int\(3, 1\): the first must not be above the second"),
        (lambda: Int(1.0, 2), "both ends must be integers"),  # pyright: ignore[reportArgumentType]
        (lambda: Float(1, 1), "needs finite ends, the first below"),
        (lambda: Float(0, 1, log=True), "the ends must be positive"),
        (lambda: Injection(3, [0, 1]), "3 logical qubits onto 2 allowed"),
        (lambda: Injection(1, [0, 0]), "names a qubit twice"),
        (lambda: Injection(3, [0, 1, 2], [(0, 1)]), "the largest connected part has 2"),
        (lambda: Group({"a.b": Int(0, 1)}), "names have no dots"),
        (lambda: Group(dict[str, Any](a=3)), "must be a space or a When, got 3"),
        (
            lambda: Group({"kind": Int(0, 1), "x": When("kinds", equals=1, space=Int(0, 1))}),
            "'x' depends on 'kinds', which must be a member before it; did you mean 'kind'",
        ),
        (
            lambda: Group({"kind": Float(0, 1), "x": When("kind", equals=1, space=Int(0, 1))}),
            "must be a Choice, an Ordered or an Int, not Float",
        ),
        (
            lambda: Group({"kind": Choice("ab"), "x": When("kind", equals="c", space=Int(0, 1))}),
            r"equals of 'x' is 'c', but must be one of \['a', 'b'\]",
        ),
        (lambda: Repeat(Int(-1, 2), Int(0, 1)), "must be an Int from at least 0"),
        (lambda: space_from_json({"kind": "tensor"}), "of the kind 'tensor' is unknown"),
    ],
)
def test_spaces_that_cannot_be(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


EXAMPLE = Group(
    {
        "kind": Choice(["adam", "sgd"]),
        "momentum": When("kind", equals="sgd", space=Float(0, 1)),
        "layout": Injection(2, [0, 1, 2], [(0, 1), (1, 2)]),
        "blocks": Repeat(Int(1, 2), Group({"width": Ordered([1, 2])})),
    }
)
GOOD = {"kind": "adam", "layout": [0, 1], "blocks": [{"width": 2}]}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "lion"}, r"value\.kind is 'lion', but must be one of"),
        ({"kind": "sgd"}, r"value\.momentum is missing"),
        ({"momentum": 0.5}, r"value\.momentum is there, but only belongs there if kind is one of"),
        ({"kind": "sgd", "momentum": 1}, r"value\.momentum is 1, but must be a float"),
        ({"layot": [0, 1]}, r"value\.layot is unknown; did you mean 'layout'"),
        ({"layout": [0]}, r"value\.layout is \[0\], but must be a list of 2"),
        ({"layout": [0, 9]}, r"value\.layout\[1\] is 9, but must be one of"),
        ({"layout": [1, 1]}, r"value\.layout\[1\] is 1, which another logical qubit has"),
        ({"layout": [0, 2]}, r"value\.layout is \[0, 2\], but these qubits are not connected"),
        ({"blocks": []}, r"the length of value\.blocks is 0, but must be an integer from 1 to 2"),
        ({"blocks": [{"width": 2}, {"width": 3}]}, r"value\.blocks\[1\]\.width is 3"),
        ({"blocks": 3}, r"value\.blocks is 3, but must be a list"),
    ],
)
def test_check_names_the_path(change: dict[str, Any], match: str) -> None:
    EXAMPLE.check(GOOD)
    with pytest.raises(ValueError, match=match):
        EXAMPLE.check(GOOD | change)


def test_inactive_genes_are_dropped_from_the_key() -> None:
    assert EXAMPLE.key(EXAMPLE.repair(GOOD | {"momentum": 0.5})) == EXAMPLE.key(GOOD)
