import json
from pathlib import Path

import numpy as np
import pytest

from nisqkit.search import Float, Group, Int, load_candidate, save_candidate

SPACE = Group({"x": Int(0, 9), "rate": Float(0, 1)})


def test_a_candidate_survives_its_file(tmp_path: Path) -> None:
    value = SPACE.sample(np.random.default_rng(0))
    save_candidate(tmp_path / "best.json", SPACE, value)
    assert load_candidate(tmp_path / "best.json", SPACE) == value


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"nisqkit_candidate": 2}, r"best\.json has version 2 of the format; this nisqkit reads"),
        ({"nisqkit_candidate": None}, r"best\.json is no candidate: it lacks"),
        ({"space": "0123456789abcdef"}, "is of the space '0123456789abcdef', not of this one"),
        ({"value": {"x": 10, "rate": 0.5}}, r"best\.json: value\.x is 10, but must be an integer"),
    ],
)
def test_other_candidates(change: dict[str, object], match: str, tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    save_candidate(path, SPACE, {"x": 1, "rate": 0.5})
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=match):
        load_candidate(path, SPACE)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"best\.json is no JSON"):
        load_candidate(path, SPACE)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="is no candidate"):
        load_candidate(path, SPACE)
    with pytest.raises(ValueError, match=r"value\.rate is missing"):
        save_candidate(path, SPACE, {"x": 1})
