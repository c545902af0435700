"""The layer whose weights are the angles of the transpiled circuit, as released QuantumNAT has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from qiskit.quantum_info import SparsePauliOp

from nisqkit.circuits.angles import AngleMap
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.program import GateUse, Program
from nisqkit.hardware_backends.bound import Binder, split_encoder
from nisqkit.hardware_backends.slot_circuit import slot_angles
from nisqkit.hardware_backends.transpile import transpile_to
from nisqkit.qml.layer import QuantumLayer

_SOFTWARE = ("rz", "u1")
"""Gates whose angles a device sets without noise."""


def native_layer(layer: QuantumLayer) -> QuantumLayer:
    """The same function, trained in the angles of the circuit as the device gets it.

    The gates from the first one that depends on a weight on are transpiled for the layer's device,
    and each angle of an rz becomes a weight of its own, also those that were constants: more
    weights for the same gates. They start at the present values, so that the outputs are the same.
    The encoder before them stays as it is.

    Source: the released training code of QuantumNAT (arXiv:2110.11331).

    Args:
        layer: With ``noise=`` a device.

    Returns:
        A layer on the physical qubits in use, on the same device and layout, with the layer's
        backend, injection, shots and seed.

    Raises:
        ValueError: The layer has no device, an input comes after a weight (see `split_encoder`), or
            its outputs are probabilities.

    Example:
        >>> from nisqkit.circuits import angle, u3_cu3
        >>> from nisqkit.noise import Device
        >>> circuit = angle(2).compose(u3_cu3(2, blocks=1))
        >>> layer = QuantumLayer(circuit, inputs="x", noise=Device.load("fake_santiago"), seed=0)
        >>> native = native_layer(layer)
        >>> x = torch.rand(3, 2)
        >>> torch.allclose(native(x), layer(x), atol=1e-5), len(layer.weights), len(native.weights)
        (True, 9, 13)
    """
    noise = layer.execution.noise
    if noise is None or (device := Binder.make(noise).model.device) is None:
        raise ValueError(
            "native_layer transpiles for the layer's device, and it has none: give the layer "
            "noise=Device.load(...)"
        )
    if layer.observables.sums is None:
        raise ValueError(
            "native_layer takes expectation values, and the outputs of this layer are "
            "probabilities: give observables"
        )
    if layer.program.angle_map.nonlinear is not None:
        raise ValueError(
            "native_layer takes circuits whose angles are affine in inputs and weights, and this "
            "one has formulas"
        )
    _, trained = split_encoder(layer.program)
    whole = Binder.make(noise, layer.execution.layout).transpile(layer.program)
    assert whole is not None
    found = transpile_to(trained, device, layout=whole.initial_layout)
    places = [found.active.index(q) for q in whole.initial_layout]
    program, start = _freed(layer, found.native, places)
    native = QuantumLayer(
        program,
        observables=_moved(layer.observables, found.measured, program.num_qubits),
        backend=layer.execution.backend,
        noise=noise,
        layout=found.active,
        shots=layer.shots,
        diff_method=layer.execution.diff_method,
        inject=layer.injection,
        init=start.to(torch.get_default_dtype()),
        seed=layer.seed,
    )
    return native.to(layer.weights.dtype)


def _freed(
    layer: QuantumLayer, native: Program, places: Sequence[int]
) -> tuple[Program, torch.Tensor]:
    """The encoder and then the native gates with a weight per angle, and the present angles."""
    program = layer.program
    encoder, trained = split_encoder(program)
    zeros = layer.weights.detach().double().new_zeros(1, len(program.inputs))
    slots = slot_angles(trained, zeros, layer.weights.detach().double())
    angles = native.angle_map(slots, slots.new_zeros(0))[0]

    inputs, constants = len(program.inputs), list(program.angle_map.constants)
    gates = [replace(use, qubits=tuple(places[q] for q in use.qubits)) for use in encoder.gates]
    terms = [term for term in program.angle_map.terms if term[1] < inputs]
    free: list[int] = []
    for use in native.gates:
        new = tuple(range(len(constants), len(constants) + len(use.slots)))
        if use.name in _SOFTWARE:
            terms.append((new[0], inputs + len(free), 1.0))
            constants.append(0.0)
            free.append(use.slots[0])
        else:
            constants += [float(angles[slot]) for slot in use.slots]
        gates.append(GateUse(use.name, use.qubits, new, use.matrix, len(gates), use.tags))
    names = tuple(f"native[{k}]" for k in range(len(free)))
    angle_map = AngleMap(program.inputs, names, tuple(constants), tuple(terms))
    return Program(native.num_qubits, tuple(gates), angle_map), angles[free]


def _moved(
    observables: Observables, measured: Sequence[int], num_qubits: int
) -> list[SparsePauliOp]:
    """The observables on the qubits where the logical ones sit at the end."""
    moved = []
    for terms in observables.sums or ():
        strings = []
        for string, _ in terms:
            letters = ["I"] * num_qubits
            for letter, q in zip(reversed(string), measured, strict=True):
                letters[q] = letter
            strings.append("".join(reversed(letters)))
        moved.append(SparsePauliOp(strings, [c for _, c in terms]))
    return moved
