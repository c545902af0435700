"""How to call a PennyLane QNode, quantum function or tape with one vector of inputs and of weights.

The names of the entries of both vectors are decided here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nisqkit.circuits.names import natural_key, unknown

Shapes = Mapping[str, "int | Sequence[int]"]


class Call(NamedTuple):
    """A quantum function as ``tape(inputs (num_inputs,), weights (num_weights,))``.

    With the names of the entries of both.
    """

    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    tape: Callable[[Tensor, Tensor], Any]


def resolve_arguments(
    qp: Any,
    function: Any,
    num_inputs: int | None,
    weight_shapes: Shapes | None,
    inputs_argument: str,
) -> Call:
    """Which arguments the function takes, checked, and their names."""
    if isinstance(function, qp.tape.QuantumScript):
        if num_inputs or weight_shapes:
            raise ValueError(
                "a tape has no arguments: its trainable parameters are the weights, so leave "
                "num_inputs and weight_shapes out"
            )
        return _tape_call(function)
    if not callable(function):
        raise TypeError(
            f"from_pennylane takes a QNode, quantum function or tape, not {type(function).__name__}"
        )
    plain = getattr(function, "func", function)  # of a QNode
    parameters = {
        name: p.default is p.empty
        for name, p in inspect.signature(plain).parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    own_names: Any = getattr(plain, "inputs", None), getattr(plain, "weights", None)
    if own_names != (None, None):  # a function of `to_pennylane`
        if num_inputs not in (None, len(own_names[0])):
            raise ValueError(
                f"num_inputs={num_inputs}, but the function has {len(own_names[0])} inputs: leave "
                "it out"
            )
        num_inputs = len(own_names[0])
        weight_shapes = {"weights": (len(own_names[1]),)}
    shapes = {
        name: tuple(shape) if isinstance(shape, Sequence) else (shape,)
        for name, shape in sorted(
            (weight_shapes or {}).items(), key=lambda item: natural_key(item[0])
        )
    }
    if inputs_argument in parameters and num_inputs is None:
        raise ValueError(
            f"the function has an argument {inputs_argument!r}: give num_inputs, its number of "
            "features (inputs= of a QuantumLayer)"
        )
    given = {*shapes, *([inputs_argument] if num_inputs is not None else [])}
    if num_inputs is not None and inputs_argument not in parameters:
        raise ValueError(
            f"the function has no argument {inputs_argument!r} for one sample (it has "
            f"{', '.join(parameters) or 'none'}): rename the argument that takes the features"
        )
    for name in sorted(given - set(parameters)):
        raise ValueError(unknown("argument", name, parameters))
    for name, required in parameters.items():
        if required and name not in given:
            raise ValueError(
                f"weight_shapes has no shape for argument {name!r}: a number is (), a vector (n,)"
            )

    def tape(x: Tensor, w: Tensor) -> Any:
        parts = _split(w, [prod(shape) for shape in shapes.values()])
        arguments = {
            name: p.reshape(shape) for (name, shape), p in zip(shapes.items(), parts, strict=True)
        }
        if num_inputs is not None:
            arguments[inputs_argument] = x
        return _queue(qp, function, arguments)

    if own_names != (None, None):
        return Call(tuple(own_names[0]), tuple(own_names[1]), tape)
    names = [
        n
        for name, shape in shapes.items()
        for n in ([f"{name}[{i}]" for i in range(prod(shape))] if shape else [name])
    ]
    return Call(
        tuple(f"{inputs_argument}[{i}]" for i in range(num_inputs or 0)), tuple(names), tape
    )


def _queue(qp: Any, function: Any, arguments: dict[str, Tensor]) -> Any:
    """The tape of one call."""
    try:
        if isinstance(function, qp.QNode):
            return qp.workflow.construct_tape(function, level="user")(**arguments)
        with qp.queuing.AnnotatedQueue() as queue:
            function(**arguments)
    except (IndexError, TypeError, ValueError) as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in arguments.items())
        raise ValueError(
            f"the quantum function failed on one sample (shapes: {shapes}): {error}"
        ) from error
    return qp.tape.QuantumScript.from_queue(queue)


def trainable_angles(tape: Any) -> list[int]:
    """Trainable parameters that are angles: not of matrices, states or observables."""
    skipped = {"QubitUnitary", "ControlledQubitUnitary", "BlockEncode"}
    skipped |= {"StatePrep", "AmplitudeEmbedding", "BasisState", "BasisEmbedding"}
    inside = len(tape.get_parameters(trainable_only=False, operations_only=True))
    names = [info["op"].name for info in tape.par_info]
    return [k for k in tape.trainable_params if k < inside and names[k] not in skipped]


def _tape_call(tape: Any) -> Call:
    indices, parameters = trainable_angles(tape), tape.get_parameters(trainable_only=False)
    shapes = [tuple(np.shape(parameters[k])) for k in indices]

    def bound(_: Tensor, w: Tensor) -> Any:
        parts = _split(w, [prod(shape) for shape in shapes])
        return tape.bind_new_parameters(
            [p.reshape(s) for p, s in zip(parts, shapes, strict=True)], indices
        )

    return Call((), tuple(f"weights[{i}]" for i in range(sum(map(prod, shapes)))), bound)


def _split(values: Tensor, sizes: list[int]) -> list[Tensor]:
    ends = list(accumulate(sizes))
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def to_tensor(value: Any) -> Tensor:
    """Any number as a float64 tensor, in the autograd graph if it is in one."""
    tensor = torch.as_tensor(value)
    return (tensor.real if tensor.is_complex() else tensor).to(torch.float64)
