"""The options of noise-aware training, as `nisqkit train` has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

_NOISE = "Noise-aware training"

NoiseAware: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--noise-aware",
        help="Short for --nodes 2 --norm --noise exact, as far as these are not given; needs one "
        "--device.",
        rich_help_panel=_NOISE,
    ),
]
NoiseKind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Train on the noise of the --device: exact (its full noise, with exact "
        "gradients), gates (random Pauli errors), outcomes or angles (normal errors).",
        show_default="noise-free",
        rich_help_panel=_NOISE,
    ),
]
NoiseFactor: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Multiply the noise of training.", show_default="1.0", rich_help_panel=_NOISE
    ),
]
NoiseSchedule: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Of the noise factor: constant, linear, cosine-up or cosine-down.",
        show_default="constant",
        rich_help_panel=_NOISE,
    ),
]
IdealEncoder: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--ideal-encoder/--noisy-encoder",
        help="Leave out the noise before the first trained gate.",
        show_default="noisy",
        rich_help_panel=_NOISE,
    ),
]
Layout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Qubits of the device, such as 0,1,3,4.",
        show_default="chosen by Qiskit",
        rich_help_panel=_NOISE,
    ),
]
Nodes: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Circuits one behind the other: values measured by one are angles of the next.",
        show_default="1",
        rich_help_panel=_NOISE,
    ),
]
Norm: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--norm/--no-norm",
        help="Normalise the values between nodes.",
        show_default="no",
        rich_help_panel=_NOISE,
    ),
]
Quantize: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="LEVELS",
        help="Round the values between nodes to this many levels; 0: to none.",
        show_default="none",
        rich_help_panel=_NOISE,
    ),
]
CentroidWeight: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Weight of the distance to the levels in the loss.",
        show_default="0.1",
        rich_help_panel=_NOISE,
    ),
]
Native: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--native/--logical",
        help="Train the angles of the transpiled circuit, or those of the ansatz.",
        show_default="logical",
        rich_help_panel=_NOISE,
    ),
]
Teacher: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Learn from this finished run as well, which is asked noise-free.",
        rich_help_panel=_NOISE,
    ),
]
DistillWeight: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Weight of the teacher in the loss.", show_default="0.5", rich_help_panel=_NOISE
    ),
]
Temperature: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="At which student and teacher are compared.",
        show_default="2.0",
        rich_help_panel=_NOISE,
    ),
]
