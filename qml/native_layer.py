"""The parameterisation of QuantumNAT: train the angles of the circuit that the device gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from nisqkit.circuits.angles import AngleMap, NonlinearMap
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.bound import after_encoder
from nisqkit.hardware_backends.transpile import Transpiled, transpile_to
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.layer import QuantumLayer

_ROTATIONS = ("rz", "u1")  # the second on IBM's machines before 2021


def native_layer(layer: QuantumLayer) -> QuantumLayer:
    """The layer whose weights are the ``rz`` angles of its trained part as its device gets it.

    The trained part (the gates from the first one on that depends on a weight) is transpiled for
    the layer's device, and each ``rz`` of the result (``u1`` on old devices) has a weight of its
    own. The encoder before it stays as it is. Weights start at the angles that the layer has now,
    so that noise-free outputs are the same, and the device's where Qiskit finds nothing more to
    merge. Should the trained part begin with another gate, an
    ``rz`` of angle 0 stands before it, so that it still begins with a weight.

    Qubit ``k`` of the encoder is still qubit ``k``; where the transpiler moves it, its observables
    are moved along. Qubits that only pass states on come last. Backend, noise, shots, injection and
    seed are those of the layer; its layout is written out for all qubits.

    Source: Wang et al., QuantumNAT, DAC 2022 (arXiv:2110.11331).

    Args:
        layer: A layer with ``noise=``, a `Device` or the `NoiseModel` of one. It is left as it is.

    Raises:
        ValueError: The layer has no device; no gate depends on a weight, or one after the first of
            those depends on an input; or probabilities are measured of qubits that the transpiler
            moves.

    Example:
        >>> from nisqkit.circuits import angle, u3_cu3
        >>> from nisqkit.noise import Device
        >>> circuit, belem = angle(2).compose(u3_cu3(2, blocks=1)), Device.load("fake_belem")
        >>> logical = QuantumLayer(circuit, "x", noise=belem, layout=[0, 1], seed=0)
        >>> native = native_layer(logical)
        >>> len(logical.weights), len(native.weights)
        (9, 13)
        >>> x = torch.rand(3, 2)
        >>> one, other = logical.with_backend("native")(x), native.with_backend("native")(x)
        >>> torch.allclose(one, other, atol=1e-5)
        True
    """
    execution, program = layer.execution, layer.program
    noise = execution.noise
    device = noise.device if isinstance(noise, NoiseModel) else noise
    if device is None:
        raise ValueError(
            "native_layer needs the layer's device: make the layer with noise=Device.load(...), "
            "and with a backend's name"
        )
    try:
        trained = after_encoder(program)
    except ValueError as error:
        raise ValueError(
            f"native_layer takes a circuit apart where an ideal encoder ends: {error}"
        ) from error
    start = execution.layout or transpile_to(program, device).initial_layout
    found = transpile_to(trained, device, layout=start)
    physical = (
        *found.initial_layout,
        *(p for p in found.active if p not in found.initial_layout),
    )
    ends = tuple(physical.index(p) for p in found.layout)
    angles = _angles(layer, found)
    native_program, rotations = _program(program, found, physical, angles.tolist())
    first = angles.new_tensor([0.0 if k is None else float(angles[k]) for k in rotations])
    native = QuantumLayer(
        native_program,
        observables=_moved(layer, ends, len(physical)),
        backend=execution.backend,
        noise=execution.noise,
        layout=physical,
        shots=layer.shots,
        diff_method=execution.diff_method,
        init=first,
        seed=layer.seed,
        inject=layer.injection,
    )
    native.to(layer.weights.dtype).train(layer.training)
    with torch.no_grad():
        native.weights.copy_(first)  # the parameter has been made in torch's default dtype
    return native


def _angles(layer: QuantumLayer, found: Transpiled) -> Tensor:
    """The angle of every slot of the native circuit at the layer's weights, in float64."""
    weights = layer.weights.detach().double()
    inputs = weights.new_zeros(1, len(layer.program.inputs))
    values = layer.program.angle_map(inputs, weights)
    used = sorted({s for use in found.program.gates for s in use.slots})
    slots = torch.zeros_like(values)  # formulas of inputs may not be defined at zero
    slots[:, used] = values[:, used]
    return found.native.angle_map(slots, weights.new_zeros(0))[0]


def _program(
    logical: Program, found: Transpiled, physical: tuple[int, ...], angles: list[float]
) -> tuple[Program, list[int | None]]:
    """The encoder and the native trained part, and the slot of ``angles`` of each weight.

    None stands for the ``rz`` that has been added.
    """
    encoder = logical.gates[: len(logical.gates) - len(after_encoder(logical).gates)]
    first = logical.angle_map.num_slots
    group = 1 + max((use.group for use in encoder), default=-1)
    place = [physical.index(p) for p in found.active]
    trained = [
        replace(
            use,
            qubits=tuple(place[q] for q in use.qubits),
            slots=tuple(first + s for s in use.slots),
            group=group + 1 + use.group,
        )
        for use in found.native.gates
    ]
    rotations: list[int | None] = [
        s - first for use in trained if use.name in _ROTATIONS for s in use.slots
    ]
    start = next(use for use in trained if use.name != "barrier")
    if start.name not in _ROTATIONS:
        name = next(name for name in _ROTATIONS if name in found.device.native_gates)
        extra = GateUse(name, start.qubits[:1], (first + len(angles),), group=group)
        trained.insert(0, extra)
        rotations.insert(0, None)
        angles = [*angles, 0.0]
    return Program(
        len(physical),
        (*encoder, *trained),
        _angle_map(logical, encoder, angles, rotations),
        logical.prepare,
    ), rotations


def _angle_map(
    logical: Program,
    encoder: tuple[GateUse, ...],
    angles: list[float],
    rotations: list[int | None],
) -> AngleMap:
    """The slots of the logical program, as far as the encoder uses them, then ``angles``."""
    old = logical.angle_map
    kept = {s for use in encoder for s in use.slots}
    if logical.prepare is not None:
        kept.update(logical.prepare.slots)
    constants = [*old.constants, *angles]
    terms = [term for term in old.terms if term[0] in kept]
    for k, slot in enumerate(rotations):
        where = old.num_slots + (len(angles) - 1 if slot is None else slot)
        constants[where] = 0.0
        terms.append((where, len(old.inputs) + k, 1.0))
    return AngleMap(
        old.inputs,
        tuple(f"rz[{k}]" for k in range(len(rotations))),
        tuple(constants),
        tuple(terms),
        old.nonlinear and _of_inputs(old.nonlinear, kept, len(old.weights)),
    )


def _of_inputs(given: NonlinearMap, kept: set[int], num_weights: int) -> NonlinearMap | None:
    """The formulas of the slots that are kept, which do not depend on the weights."""
    columns = tuple(k for k, slot in enumerate(given.slots) if slot in kept)
    if not columns:
        return None
    return NonlinearMap(
        tuple(given.slots[k] for k in columns),
        tuple(given.parameters[k] for k in columns),
        f"{given.key} at {columns} without {num_weights} weights",
        _WithoutWeights(given.function, columns, num_weights),
    )


@dataclass(frozen=True, eq=False)
class _WithoutWeights:
    function: Callable[[Tensor, Tensor], Tensor]
    columns: tuple[int, ...]
    num_weights: int

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        none = inputs.new_zeros(*weights.shape[:-1], self.num_weights)
        return self.function(inputs, none)[..., list(self.columns)]


def _moved(
    layer: QuantumLayer, ends: tuple[int, ...], num_qubits: int
) -> list[SparsePauliOp] | str:
    """The layer's observables where the transpiler leaves each qubit."""
    given = layer.observables
    if given.sums is None:
        if ends != tuple(range(num_qubits)):
            raise ValueError(
                "the transpiler moves qubits, so the probabilities of basis states would be those "
                "of others: choose a layout= on which the circuit needs no routing, or measure "
                "expectation values"
            )
        return "probs"

    def at_end(string: str) -> str:
        letters = ["I"] * num_qubits
        for letter, q in zip(reversed(string), ends, strict=True):
            letters[q] = letter
        return "".join(reversed(letters))

    return [
        SparsePauliOp([at_end(s) for s, _ in terms], [c for _, c in terms]) for terms in given.sums
    ]
