"""A sub-circuit survives being written down, and damage is found."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.circuits.subcircuit_text import subcircuit_from_text, subcircuit_to_text

DESIGN = DesignSpace("zxxx", 3, blocks=2)


def test_it_comes_back() -> None:
    mask = DESIGN.mask(DESIGN.space.sample(np.random.default_rng(0)))
    assert subcircuit_from_text(subcircuit_to_text(DESIGN, mask)) == (DESIGN, mask)


def test_bad_input() -> None:
    text = subcircuit_to_text(DESIGN, DESIGN.mask(DESIGN.largest))
    found = json.loads(text)
    with pytest.raises(ValueError, match="is JSON text, and this is none"):
        subcircuit_from_text(text[:-1])
    with pytest.raises(ValueError, match=r"this is no sub-circuit of version 1 \(.*is 2"):
        subcircuit_from_text(json.dumps(found | {"nisqkit_subcircuit": 2}))
    with pytest.raises(ValueError, match="give one 0 or 1 for each"):
        subcircuit_from_text(json.dumps(found | {"kept": "01"}))
    with pytest.raises(ValueError, match="unknown design space"):
        subcircuit_from_text(json.dumps(found | {"space": "zx"}))
