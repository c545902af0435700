"""Export to ONNX: a hybrid model as one file of real arithmetic, compared with the model."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.compression.circuit_guard import evaluation
from nisqkit.compression.layers import copied, first_batch, kept_parts, replace_modules
from nisqkit.compression.masks import make_permanent
from nisqkit.compression.quantized_layer import QuantizedCircuit
from nisqkit.compression.real_circuit import real_circuit
from nisqkit.search.module_calls import tensors_in


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the file.
        artifact_bytes: its size. For small models it is mostly names and structure, and it holds
            quantized values as floats: ``weight_bytes`` of a profile is the size when packed.
        largest_difference: between the outputs of the file and those of the model.
    """

    path: Path
    artifact_bytes: int
    largest_difference: float


def export_onnx(
    model: nn.Module, path: str | os.PathLike[str], example: Any, *, tolerance: float = 1e-5
) -> Exported:
    """Write a model, circuits included, as an ONNX file for inference; and check it.

    Circuits with exact values become products of real matrices, see `RealCircuit`. The file takes
    any batch size, and is run by ONNX Runtime on the example and on a batch of another size: it
    must give what the model gives.

    Args:
        model: it is left as it is; it is exported in evaluation mode.
        path: of the file.
        example: an input of the model, with its batch dimension; a tuple for several.
        tolerance: largest difference of an output, relative to 1 or the largest output; the default
            is for float32.

    Returns:
        Where the file is, its size, and the largest difference.

    Raises:
        ValueError: a circuit with noise, shots, mitigation or a queued backend; a module that
            cannot be written; or outputs that differ by more.
        ImportError: onnx, onnxscript or onnxruntime is not installed.

    Example:
        >>> import tempfile
        >>> net = nn.Sequential(nn.Linear(4, 2), nn.Tanh())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = export_onnx(net, f"{folder}/net.onnx", torch.rand(3, 4))
        >>> found.largest_difference < 1e-5
        True
    """
    onnxruntime = _packages()
    found = copied(model).requires_grad_(False).eval()
    new: dict[str, nn.Module] = {}
    for part in found.modules():
        if isinstance(part, QuantizedCircuit):
            with torch.no_grad():
                part.circuit.weights.copy_(part.weights)  # type: ignore[operator]
            part.periods = None
    for name, part in kept_parts(found).items():
        new[name] = real_circuit(part, name)
    found = make_permanent(replace_modules(found, new))
    args = tuple(x.detach() if isinstance(x, Tensor) else x for x in first_batch(example))
    if any(isinstance(x, Tensor) and (x.dim() == 0 or len(x) == 0) for x in args):
        raise ValueError("the example needs a batch dimension with at least one sample")
    pair = tuple(torch.cat([x, x]) if isinstance(x, Tensor) else x for x in args)
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} if isinstance(x, Tensor) else None for x in args)
    where = Path(path)
    with _quiet():
        try:
            program = torch.onnx.export(
                found, pair, dynamo=True, dynamic_shapes=shapes, verbose=False, optimize=True
            )
            assert program is not None
            for node in program.model.graph:  # where in the sources each came from: most of a file
                node.metadata_props.clear()
            program.save(where)
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(
                f"{type(model).__name__} cannot be written as ONNX; its parts must be torch's own "
                f"operations: {_first_line(error)}"
            ) from error
    session = onnxruntime.InferenceSession(where, providers=["CPUExecutionProvider"])
    difference = max(_difference(session, model, args), _difference(session, model, pair))
    if not difference <= tolerance:
        raise ValueError(
            f"{where} differs from the model by {difference:.3g}, and {tolerance:g} is allowed: "
            "rounding to a grid (quantization) can do that; look, and give a larger tolerance"
        )
    return Exported(where, where.stat().st_size, difference)


def _difference(session: Any, model: nn.Module, args: tuple[Any, ...]) -> float:
    with evaluation(model):
        expected = tensors_in(model(*args))
    names = [given.name for given in session.get_inputs()]
    given = [x.cpu().numpy() for x in args if isinstance(x, Tensor)]
    found = session.run(None, dict(zip(names, given, strict=True)))
    worst = 0.0
    for want, got in zip(expected, found, strict=True):
        scale = max(1.0, float(want.abs().max()))
        worst = max(worst, float((want.cpu() - torch.from_numpy(got)).abs().max()) / scale)
    return worst


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _packages() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export to ONNX needs onnx, onnxscript and onnxruntime: "
            'pip install "nisqkit[compression]"'
        ) from error
    return onnxruntime
