"""Sub-circuits of design spaces as JSON text: what a search found, for training and for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nisqkit.circuits.design_spaces import DesignSpace

VERSION = 1


def subcircuit_to_text(design: DesignSpace, mask: Sequence[bool]) -> str:
    """Write a sub-circuit down.

    Args:
        design: Its space.
        mask: Over the instructions of `DesignSpace.circuit`.

    Example:
        >>> design = DesignSpace("zzry", num_qubits=2, blocks=1)
        >>> subcircuit_to_text(design, [True, True, False])
        '{"nisqkit_subcircuit": 1, "space": "zzry", "num_qubits": 2, "blocks": 1, "kept": "110"}'
    """
    kept = "".join("1" if keep else "0" for keep in mask)
    fields = {"space": design.name, "num_qubits": design.num_qubits, "blocks": design.num_blocks}
    return json.dumps({"nisqkit_subcircuit": VERSION, **fields, "kept": kept})


def subcircuit_from_text(text: str) -> tuple[DesignSpace, tuple[bool, ...]]:
    """Read what `subcircuit_to_text` wrote.

    Returns:
        The design space and the mask.

    Raises:
        ValueError: No JSON, another version, an unknown space, or a mask that does not fit it.
    """
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"a sub-circuit is JSON text, and this is none: {error}") from None
    version = found.get("nisqkit_subcircuit") if isinstance(found, dict) else None
    if version != VERSION:
        raise ValueError(
            f"this is no sub-circuit of version {VERSION} ('nisqkit_subcircuit' is {version!r}): "
            "give what a search has written, subcircuit.json"
        )
    design = DesignSpace(found["space"], found["num_qubits"], found["blocks"])
    kept = found["kept"]
    length = len(design.mask(design.largest))
    if len(kept) != length or set(kept) - set("01"):
        raise ValueError(
            f"the sub-circuit keeps {kept[:20]!r}... of {len(kept)} gates, but {design!r} has "
            f"{length}: give one 0 or 1 for each"
        )
    return design, tuple(letter == "1" for letter in kept)
