"""The tree: totals, paths, JSON, and what is refused."""

import json
from typing import Any

import pytest
from torch import nn

from nisqkit.search.metric import Metric
from nisqkit.search.profile import Profile, profile


def made() -> Profile:
    block = {"macs": Metric(10), "success_probability": Metric(0.5, aggregate="product")}
    inner = Profile("inner", "quantum", block, notes=("assumed",))
    outer = Profile("outer", "model", {"peak": Metric(8, "B", "max")}, (inner,))
    last = Profile("last", "quantum", {**block, "peak": Metric(9, "B", "max")}, notes=("assumed",))
    return Profile("net", "model", {"parameters": Metric(3)}, (outer, last))


def test_what_is_stated_wins_and_the_rest_adds_up() -> None:
    root = made()
    assert root.total("macs").value == 20
    assert root.total("success_probability").value == 0.25
    assert root.total("peak").value == 9
    flat = root.flat()
    assert flat["outer.inner.macs"] == flat["outer.macs"] == flat["last.macs"] == 10
    assert flat["parameters"] == 3
    assert "outer.parameters" not in flat  # not 0
    stated = Profile("net", "model", {"macs": Metric(7)}, root.children)
    assert stated.total("macs").value == 7


def test_metrics_that_make_no_whole_have_no_total() -> None:
    part = {"angle": Metric(1, aggregate="none")}
    two = Profile("n", "model", {}, tuple(Profile(k, "quantum", part) for k in "ab"))
    assert two.flat() == {"a.angle": 1, "b.angle": 1}
    assert Profile("n", "model", {}, two.children[:1]).total("angle").value == 1


def test_notes_say_which_parts_have_them() -> None:
    assert made().all_notes() == ["outer.inner, last: assumed"]


def test_json_holds_everything() -> None:
    root = made()
    assert Profile.from_json(root.to_json()) == root
    content = json.loads(root.to_json())
    assert (content["format"], content["version"]) == ("nisqkit.profile", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "'version': 2}, and not {'format'"),
        ({"metrics": {"macs": {"valu": 1}}}, "damaged: .*valu"),
        ({"children": [{}]}, "damaged: KeyError"),
    ],
)
def test_other_json_is_refused(change: dict[str, Any], message: str) -> None:
    text = json.dumps(json.loads(made().to_json()) | change)
    with pytest.raises(ValueError, match=message):
        Profile.from_json(text)
    for text in ("nonsense", "[1]"):
        with pytest.raises(ValueError, match="no profile in JSON"):
            Profile.from_json(text)


def test_bad_profiles_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'mac'; did you mean 'macs'"):
        made().total("mac")
    with pytest.raises(ValueError, match="unknown kind 'quantun'; did you mean 'quantum'"):
        Profile("n", "quantun", {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two parts of 'n' are named 'last'"):
        Profile("n", "model", {}, (made().children[1],) * 2)
    with pytest.raises(TypeError, match="diff takes another Profile, not int"):
        made().diff(3)  # type: ignore[arg-type]


def test_things_describe_themselves() -> None:
    class Thing:
        def __profile__(self, example: Any = None, factor: int = 1) -> Profile:
            return Profile("thing", "boundary", {"size": Metric(example * factor)})

    found = profile(Thing(), 2, factor=3, name="mine")
    assert (found.name, found.total("size").value) == ("mine", 6)
    for thing in (3, Thing, nn.Linear):
        with pytest.raises(TypeError, match=r"cannot be profiled: give a torch\.nn\.Module"):
            profile(thing)
