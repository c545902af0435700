"""Matrices of blocks and their derivatives, by Qiskit and by central differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.circuits import Observables, lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.hardware_backends.native.matrices import (
    build,
    chain,
    dagger,
    own_matrices,
    pull_back,
    put_slopes,
)
from nisqkit.hardware_backends.native.plan import plan
from nisqkit.hardware_backends.native.schedule import Block, Groups, schedule

Array = NDArray[Any]
Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


def random_complex(*shape: int, seed: int = 0) -> Complex:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def split(array: Complex, dtype: Any = np.float64) -> tuple[Array, Array]:
    """Real and imaginary part as arrays of their own."""
    return array.real.astype(dtype), array.imag.astype(dtype)


Write = Callable[[QuantumCircuit, Sequence[Any], int, int], None]
"""Writes a block on two qubits, with up to eight angles."""


def gate_block(name: str) -> Write:
    """A block of one gate; ``v`` is as long as its angles."""

    def write(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
        gate = GATES[name]
        circuit.append(gate_class(name)(*v[: gate.num_params]), [a, b][: gate.num_qubits])

    return write


def mixed_inputs(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    """Every form of factor: on the first, on the second, controlled by either, full, fixed."""
    circuit.u(v[0], v[1], v[2], b)
    circuit.crx(v[3], b, a)
    circuit.rzx(v[4], a, b)
    circuit.append(gate_class("u2")(v[5], v[1]), [a])
    circuit.append(gate_class("cu3")(v[6], v[7], v[0]), [a, b])
    circuit.append(gate_class("xx_plus_yy")(v[1], v[2]), [a, b])
    circuit.rzx(v[3], b, a)


def mixed(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    """The same with fixed gates on either side."""
    circuit.h(a)
    circuit.append(UnitaryGate(random_unitary(4, seed=1)), [a, b])
    mixed_inputs(circuit, v, a, b)
    circuit.iswap(a, b)
    circuit.s(b)
    circuit.ch(b, a)
    mixed_inputs(circuit, v[::-1], a, b)
    circuit.append(UnitaryGate(random_unitary(4, seed=2)), [b, a])


def run_of_inputs(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    circuit.rx(v[0], a)
    circuit.append(gate_class("u2")(v[4], v[0]), [a])
    circuit.u(v[1], v[2], v[3], a)
    circuit.rx(v[0], a)


def run(circuit: QuantumCircuit, v: Sequence[Any], a: int, b: int) -> None:
    circuit.append(UnitaryGate(random_unitary(2, seed=2)), [a])
    run_of_inputs(circuit, v, a, b)
    circuit.h(a)
    circuit.t(a)
    run_of_inputs(circuit, v[::-1], a, b)


WEIGHTED = {
    **{n: gate_block(n) for n in GATES if n not in ("id", "cx", "cz", "swap")},
    "run": run,
    "mixed": mixed,
}
OF_INPUTS = {
    **{n: gate_block(n) for n, gate in GATES.items() if gate.num_params},
    "run": run_of_inputs,
    "mixed": mixed_inputs,
}
MOST_ANGLES = 8


def matrix(write: Write, angles: Real, block: Block) -> Complex:
    """The block's matrix in the order of its qubits, by Qiskit."""
    circuit = QuantumCircuit(2)
    write(circuit, angles.tolist(), 0, 1)
    full = Operator(circuit)
    if len(block.qubits) == 1:
        return np.asarray(full.data[:2, :2])
    return np.asarray((full if block.qubits[0] % 2 == 0 else full.reverse_qargs()).data)


def planned(write: Write, count: int, own: bool) -> tuple[list[Block], Groups, Array]:
    """The same block on ``count`` pairs of qubits, each with parameters of its own.

    The last result gives, for each factor and lane, the number ``MOST_ANGLES * block + angle`` of
    the parameter that it reads, or -1.
    """
    circuit = QuantumCircuit(2 * count)
    v = ParameterVector("v", count * MOST_ANGLES)
    for k in range(count):
        mine = [v[i] for i in range(k * MOST_ANGLES, (k + 1) * MOST_ANGLES)]
        write(circuit, mine, 2 * k, 2 * k + 1)
    program = lower(circuit, "v" if own else None)
    made = schedule(program)
    names = [*program.inputs, *program.weights]
    reads = np.full(program.angle_map.num_slots + 1, -1)  # the last one is for slot -1
    for slot, parameter, coefficient in program.angle_map.terms:
        assert coefficient == 1
        reads[slot] = int(names[parameter].removeprefix("v[").removesuffix("]"))
    if not own:
        return list(made.blocks), made.shared, reads[made.shared.slots]
    # the lanes are samples, and all of them read the slots of the first
    return list(made.blocks), made.own, np.tile(reads[made.own.slots[:, :1]], 16)


def waves(groups: Groups, reads: Array, angles: Real) -> tuple[Real, Real]:
    """Cosine and sine of frequency times angle, for each factor and lane; ``angles`` by lane."""
    phases = np.where(reads >= 0, angles[reads, np.arange(16)], 0) * groups.frequency[:, None]
    return np.cos(phases), np.sin(phases)


def overlap_of(left: Complex, right: Complex) -> Complex:
    """``y_ac = sum conj(left_a) right_c``, flat."""
    return np.asarray(np.einsum("am,cm->ac", left.conj(), right).ravel())


def slopes(write: Write, angles: Real, block: Block, left: Complex, start: Complex) -> Real:
    """Derivatives of ``2 Re <left| U start>`` by central differences, with U by Qiskit."""
    step, result = 1e-5, np.zeros(MOST_ANGLES)
    for p in range(MOST_ANGLES):
        move = step * np.eye(MOST_ANGLES)[p]
        difference = matrix(write, angles + move, block) - matrix(write, angles - move, block)
        result[p] = 2 * np.vdot(left, difference @ start).real / (2 * step)
    return result


@pytest.mark.parametrize("name", WEIGHTED)
def test_shared_matrices_and_their_derivatives(name: str) -> None:
    """Three blocks side by side."""
    check(WEIGHTED[name], 3, own=False)


@pytest.mark.parametrize("name", OF_INPUTS)
def test_matrices_of_samples_and_their_derivatives(name: str) -> None:
    """Two blocks of 16 samples."""
    check(OF_INPUTS[name], 2, own=True)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
@pytest.mark.parametrize("name", ["rx", "mixed"])
def test_any_number_of_equal_blocks(name: str, count: int) -> None:
    """Sixteen to a group."""
    blocks, groups = check(WEIGHTED[name], count, own=False)
    assert len(groups.groups) == -(-count // 16)
    assert [(b.row, b.lane) for b in blocks] == [(k // 16 * 16, k % 16) for k in range(count)]


def check(write: Write, count: int, own: bool) -> tuple[list[Block], Groups]:
    """`build`, `dagger` and `chain` against Qiskit's matrices and their differences."""
    blocks, groups, reads = planned(write, count, own)
    assert len(blocks) == count
    rng = np.random.default_rng(3)
    angles = rng.uniform(-2, 2, (count * MOST_ANGLES, 16))
    if not own:
        angles[:] = angles[:, :1]  # a lane is a block, not a sample
    cos, sin = waves(groups, reads, angles)
    size = 16 * len(groups.groups) + 1
    u_re, u_im = np.zeros((2, size, 16))
    d_re, d_im = np.zeros((2, size, 16))
    arrays, scratch = (groups.groups, groups.pairs, groups.table), np.full((64, 16), np.nan)
    build(*arrays, cos, sin, u_re, u_im, scratch)
    dagger(groups.groups, u_re, u_im, d_re, d_im)

    y = np.zeros((size, 16), complex)
    expected = np.zeros((count * MOST_ANGLES, 16))
    for k, block in enumerate(blocks):
        for lane in range(16) if own else [block.lane]:
            mine = angles[k * MOST_ANGLES : (k + 1) * MOST_ANGLES, lane]
            u = matrix(write, mine, block)
            at = slice(block.row, block.row + u.size), lane
            assert_allclose((u_re + 1j * u_im)[at], u.ravel(), atol=1e-12)
            assert_allclose((d_re + 1j * d_im)[at], u.conj().T.ravel(), atol=1e-12)
            left, start = random_complex(2, len(u), 3, seed=100 * k + lane)
            y[at] = overlap_of(left, u @ start)
            rows = slice(k * MOST_ANGLES, (k + 1) * MOST_ANGLES)
            expected[rows, lane] = slopes(write, mine, block, left, start)

    grad = np.zeros((len(groups.frequency), 16))
    chain(*arrays, groups.generator, groups.trained, cos, sin, *split(y), grad, scratch)
    found = np.zeros_like(expected)
    for f, lane in np.argwhere(reads >= 0):
        found[reads[f, lane], lane] += grad[f, lane]
    assert_allclose(found, expected, atol=1e-7)
    return blocks, groups


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tile", [0, 1])
def test_matrices_of_a_tile(tile: int, dtype: Any) -> None:
    """Angles are affine in inputs and weights, added up in float64; the last tile is not full."""
    rng = np.random.default_rng(0)
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 3), ParameterVector("w", 2)
    circuit.rx(2 * x[0] - 3 * x[1] + w[1] + 0.3, 0)
    circuit.crz(w[0] - x[2], 0, 1)
    circuit.rzx(x[0] + 0.5 * w[0] + 0.25 * w[1], 0, 1)
    program = lower(circuit, "x")
    made = plan(program, Observables.parse(None, 2), "samples")
    own, terms = made.schedule.own, made.own_forms[0].terms
    inputs = rng.normal(size=(21, 3)).astype(dtype)
    weights = rng.normal(size=2).astype(dtype)
    cos, sin = np.full((2, len(own.table), 16), np.nan, dtype)
    u_re, u_im = np.zeros((2, 16 * len(own.groups) + 1, 16), dtype)
    own_matrices(
        tile, inputs, weights, *terms, own.groups, own.pairs, own.table,
        cos, sin, u_re, u_im, np.full((1, 16), np.nan), np.full((64, 16), np.nan, dtype),
    )  # fmt: skip
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    for lane, row in enumerate(inputs[16 * tile : 16 * tile + 16].tolist()):
        bound = circuit.assign_parameters({x: row, w: weights.tolist()})
        found = np.eye(4, dtype=complex)
        for block in made.schedule.blocks:
            size = 2 ** len(block.qubits)
            at = slice(block.row, block.row + size**2), lane
            small = Operator((u_re + 1j * u_im)[at].reshape(size, size).astype(complex))
            found = np.asarray(Operator(found).compose(small, list(block.qubits)).data)
        right = Operator(bound).data
        phase = np.vdot(right, found)
        assert_allclose(found * phase.conj() / abs(phase), right, atol=tolerance)
    assert_allclose(cos**2 + sin**2, 1, atol=tolerance)


@pytest.mark.parametrize("tile", [0, 1, 2])
def test_slopes_go_to_their_samples(tile: int) -> None:
    """Lanes become samples, and what is beyond the last sample is dropped."""
    rows, slopes = np.arange(48.0).reshape(3, 16), np.full((37, 3), -1.0)
    put_slopes(tile, rows, slopes)
    last = min(37, 16 * tile + 16)
    assert np.array_equal(slopes[16 * tile : last], rows.T[: last - 16 * tile])
    assert (np.delete(slopes, range(16 * tile, last), axis=0) == -1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_of_affine_forms_become_gradients(dtype: Any) -> None:
    """``pull_back`` is the transpose of the forms' matrix, without the forms that are not used."""
    rng = np.random.default_rng(0)
    lengths = [0, 3, 1, 0, 5, 2]
    first = np.cumsum([0, *lengths])
    column = np.concatenate([rng.choice(7, n, replace=False) for n in lengths]).astype(np.int64)
    coefficient = rng.normal(size=len(column))
    dense = np.zeros((len(lengths), 7))
    for r in range(len(lengths)):
        for k in range(first[r], first[r + 1]):
            dense[r, column[k]] = coefficient[k]
    used = np.array([True, True, False, True, True, True])
    values = rng.normal(size=(5, len(lengths))).astype(dtype)
    g_inputs, g_weights = np.ones((5, 4), dtype), np.ones(3)
    pull_back(values, used, first, column, coefficient, g_inputs, g_weights)
    expected = 1 + (values * used).astype(np.float64) @ dense
    assert_allclose(g_inputs, expected[:, :4], atol=1e-6 if dtype == np.float32 else 1e-14)
    assert_allclose(g_weights, 1 + (expected - 1).sum(axis=0)[4:], atol=1e-14)
