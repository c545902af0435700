"""The forward and backward passes of a whole run, as few calls with few arguments.

Arrays come packed (see ``packed.py``):

- ``where, ints, floats``: what does not depend on the parameters' values; `Plan.static` packs it in
  the order of the names below.
- ``kept``: what the forward pass leaves for the backward pass; ``used`` and (float64) ``sums``:
  what the backward pass needs beside that, zeros. `Sizes` says where.

A pass is one call on one thread. Several threads take it phase by phase: those of units are
divided, ``begin <= unit < end``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nisqkit.hardware_backends.native.compiling import OPTIONS, PART
from nisqkit.hardware_backends.native.matrices import (
    build,
    chain,
    dagger,
    own_slopes,
    pull_back,
    quads,
    shared_angles,
)
from nisqkit.hardware_backends.native.packed import (
    CACHE_LINE,
    complex2,
    complex3,
    from_cache_line,
    layout,
    line,
    rows_like,
    table,
    view2,
    view3,
    view4,
    view5,
)
from nisqkit.hardware_backends.native.units import (
    add_rows,
    backward_units,
    forward_units,
    unitary_backward,
    unitary_forward,
)

SHARED, OWN = 0, 11
"""Where the arrays of the shared matrices and of the samples' own begin."""
(
    GROUPS, PAIRS, TABLE, GENERATOR, TRAINED, FIRST, COLUMN, WAVE, CONSTANT, ANGLE, USED
) = range(11)  # fmt: skip
"""Of matrices: as in `matrices.build` and `chain`; and the forms of the angles, as in
`matrices.shared_angles`, times frequency (``WAVE``, ``CONSTANT``) and not (``ANGLE``)."""
HEAD, TAIL, STRINGS, LANE_SIGNS, COEFFICIENTS, PLACES, START_ROWS, FLAGS = range(22, 30)
"""As in `units.forward_units`; ``FLAGS`` holds whether the lanes are samples, and the rows."""

(
    S_RE, S_IM, QUADS, STATE_RE, STATE_IM, BEFORE_RE, BEFORE_IM, COLUMNS_RE, COLUMNS_IM,
    DENSE_RE, DENSE_IM, COS, SIN,
) = range(13)  # fmt: skip
"""Kept: shared matrices, states; on the unitary route the states before the unitary, its columns as
units, and itself; cosine and sine of the shared factors."""
D_RE, D_IM, D_QUADS, SLOPES, OWN_RE, OWN_IM, COSTATES, G_START = range(13, 21)
"""Used: conjugate transposes, slopes and overlaps of the samples' own matrices, co-states of the
unitary's columns, gradients of the initial amplitudes."""
OVERLAPS = 21
"""Sums: overlaps of the shared matrices."""


ALL, MATRICES, UNITARY, SAMPLES, PARAMETERS = range(5)
"""Phases."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Where the arrays of a run are; ``where`` holds all three layouts, one after the other."""

    where: NDArray[np.int64]
    kept: int
    used: int
    sums: int

    @classmethod
    def make(
        cls,
        *shapes: list[tuple[int, int]],
    ) -> Sizes:
        """From the shapes of the arrays kept, used and sums."""
        layouts = [layout(s) for s in shapes]
        return cls(np.concatenate([where for where, _ in layouts]), *(size for _, size in layouts))

    def view(self, buffer: NDArray[Any], k: int) -> NDArray[Any]:
        """Array ``k`` of a buffer."""
        begin, rows, columns = self.where[k]
        begin += -buffer.ctypes.data % CACHE_LINE // buffer.itemsize
        found: NDArray[Any] = buffer[begin : begin + rows * columns].reshape(rows, columns)
        return found


@njit(**OPTIONS)
def matrices_of(where, ints, floats, base):  # type: ignore[no-untyped-def]
    """``groups, pairs, table`` of the shared (``SHARED``) or the own (``OWN``) matrices."""
    pairs = table(ints, where, base + PAIRS)
    factors = complex3(floats, where[base + TABLE, 0], (len(pairs), 3, 16))
    return table(ints, where, base + GROUPS), pairs, factors


@njit(**OPTIONS)
def generators_of(where, ints, floats, base):  # type: ignore[no-untyped-def]
    """``generator, trained`` of the shared or the own matrices."""
    trained = line(ints, where, base + TRAINED)
    return complex2(floats, where[base + GENERATOR, 0], (len(trained), 16)), trained


@njit(**OPTIONS)
def waves_of(where, ints, floats, base):  # type: ignore[no-untyped-def]
    """``first, column, coefficient, constant`` of the factors' angles times frequency."""
    return (
        line(ints, where, base + FIRST), line(ints, where, base + COLUMN),
        line(floats, where, base + WAVE), line(floats, where, base + CONSTANT),
    )  # fmt: skip


@njit(**OPTIONS)
def angles_of(where, ints, floats, base):  # type: ignore[no-untyped-def]
    """``used, first, column, coefficient`` of the factors' angles."""
    return (
        line(ints, where, base + USED), line(ints, where, base + FIRST),
        line(ints, where, base + COLUMN), line(floats, where, base + ANGLE),
    )  # fmt: skip


@njit(**OPTIONS)
def outputs_of(where, ints, floats):  # type: ignore[no-untyped-def]
    """``strings, lane_signs, coefficients, places``."""
    return (
        table(ints, where, STRINGS), table(floats, where, LANE_SIGNS),
        table(floats, where, COEFFICIENTS), line(ints, where, PLACES),
    )  # fmt: skip


@njit(**OPTIONS)
def two(buffer, sizes, k):  # type: ignore[no-untyped-def]
    """Two arrays."""
    return table(buffer, sizes, k), table(buffer, sizes, k + 1)


@njit(**OPTIONS)
def three(buffer, sizes, k):  # type: ignore[no-untyped-def]
    """Three arrays."""
    return table(buffer, sizes, k), table(buffer, sizes, k + 1), table(buffer, sizes, k + 2)


@njit(**OPTIONS)
def states(buffer, sizes, k, rows):  # type: ignore[no-untyped-def]
    """Real and imaginary parts of the states of units, (U, rows, 16)."""
    shape = sizes[k, 1] // rows, rows, 16
    return view3(buffer, sizes[k, 0], shape), view3(buffer, sizes[k + 1, 0], shape)


@njit(**OPTIONS)
def overlaps(sums, sizes, groups):  # type: ignore[no-untyped-def]
    """(parts, 2, 16 G + 1, 16)."""
    size = 16 * groups + 1
    shape = sizes[OVERLAPS, 1] // (2 * size), 2, size, 16
    return view4(sums, sizes[OVERLAPS, 0], shape)


@njit(**OPTIONS)
def costates(used, sizes, rows):  # type: ignore[no-untyped-def]
    """(U, 2, units of columns, rows, 16)."""
    shape = sizes[STATE_RE, 1] // rows, 2, sizes[COLUMNS_RE, 1] // rows, rows, 16
    return view5(used, sizes[COSTATES, 0], shape)


@njit(**PART)
def forward_shared(where, ints, floats, sizes, num_inputs, weights, kept):  # type: ignore[no-untyped-def]
    """Build the shared matrices."""
    groups, pairs, factors = matrices_of(where, ints, floats, SHARED)
    cos, sin = table(kept, sizes, COS), table(kept, sizes, SIN)
    first, column, coefficient, constant = waves_of(where, ints, floats, SHARED)
    angles = rows_like(1, constant)
    shared_angles(num_inputs, weights, first, column, coefficient, constant, cos, sin, angles)
    s_re, s_im, s_quads = three(kept, sizes, S_RE)
    build(groups, pairs, factors, cos, sin, s_re, s_im, rows_like(64, cos))
    head = table(ints, where, HEAD)
    quads(head, s_re, s_im, s_quads)
    quads(table(ints, where, TAIL), s_re, s_im, s_quads[len(head) :])


@njit(**PART)
def forward_columns(where, ints, floats, sizes, kept, begin, end):  # type: ignore[no-untyped-def]
    """`units.unitary_forward`."""
    s_re, s_im, s_quads = three(kept, sizes, S_RE)
    rows = line(ints, where, FLAGS)[1]
    shared = s_re, s_im, s_quads[where[HEAD, 1] :]
    columns, unitary = states(kept, sizes, COLUMNS_RE, rows), two(kept, sizes, DENSE_RE)
    unitary_forward(begin, end, columns, table(ints, where, TAIL), shared, unitary)


@njit(**PART)
def forward_samples(where, ints, floats, sizes, inputs, weights, start, kept, y, begin, end):  # type: ignore[no-untyped-def]
    """`units.forward_units`."""
    flags = line(ints, where, FLAGS)
    by_samples, rows = flags[0], flags[1]
    forward_units(
        begin, end, states(kept, sizes, STATE_RE, rows), states(kept, sizes, BEFORE_RE, rows),
        two(kept, sizes, DENSE_RE), start, line(ints, where, START_ROWS), table(ints, where, HEAD),
        three(kept, sizes, S_RE), by_samples, inputs, weights,
        waves_of(where, ints, floats, OWN), matrices_of(where, ints, floats, OWN),
        outputs_of(where, ints, floats), y,
    )  # fmt: skip


@njit(**OPTIONS)
def forward(  # type: ignore[no-untyped-def]
    phase, begin, end, where, ints, floats, sizes, inputs, weights, start, kept, y
):
    """Outputs ``y`` (batch, outputs) from inputs, weights and initial amplitudes."""
    kept = from_cache_line(kept)
    rows = line(ints, where, FLAGS)[1]
    units, columns = sizes[STATE_RE, 1] // rows, sizes[COLUMNS_RE, 1] // rows
    if phase in (ALL, MATRICES):
        forward_shared(where, ints, floats, sizes, inputs.shape[1], weights, kept)
    if phase in (ALL, UNITARY):
        last = columns if phase == ALL else end
        forward_columns(where, ints, floats, sizes, kept, begin, last)
    if phase in (ALL, SAMPLES):
        last = units if phase == ALL else end
        forward_samples(where, ints, floats, sizes, inputs, weights, start, kept, y, begin, last)


@njit(**PART)
def backward_shared(where, ints, floats, sizes, kept, used):  # type: ignore[no-untyped-def]
    """Conjugate transposes of the shared matrices."""
    d_re, d_im, d_quads = three(used, sizes, D_RE)
    groups = table(ints, where, SHARED + GROUPS)
    dagger(groups, table(kept, sizes, S_RE), table(kept, sizes, S_IM), d_re, d_im)
    head = table(ints, where, HEAD)
    quads(head, d_re, d_im, d_quads)
    quads(table(ints, where, TAIL), d_re, d_im, d_quads[len(head) :])


@njit(**PART)
def backward_samples(  # type: ignore[no-untyped-def]
    where, ints, floats, sizes, inputs, weights, kept, used, sums, grad, stop, begin, end
):
    """`units.backward_units`."""
    flags = line(ints, where, FLAGS)
    by_samples, rows = flags[0], flags[1]
    groups = table(ints, where, SHARED + GROUPS)
    own = len(table(ints, where, OWN + GROUPS))
    backward_units(
        begin, end, states(kept, sizes, STATE_RE, rows), states(kept, sizes, BEFORE_RE, rows),
        two(kept, sizes, DENSE_RE), line(ints, where, START_ROWS), table(ints, where, HEAD), stop,
        three(used, sizes, D_RE), by_samples, inputs, weights, waves_of(where, ints, floats, OWN),
        matrices_of(where, ints, floats, OWN), generators_of(where, ints, floats, OWN),
        outputs_of(where, ints, floats), grad, states(used, sizes, OWN_RE, 16 * own + 1),
        table(used, sizes, SLOPES),
        overlaps(sums, sizes, len(groups)),
        costates(used, sizes, rows),
        table(used, sizes, G_START),
    )  # fmt: skip


@njit(**PART)
def backward_columns(where, ints, floats, sizes, kept, used, sums, begin, end):  # type: ignore[no-untyped-def]
    """`units.unitary_backward`."""
    rows = line(ints, where, FLAGS)[1]
    d_re, d_im, d_quads = three(used, sizes, D_RE)
    columns = sizes[COLUMNS_RE, 1] // rows
    parts = overlaps(sums, sizes, len(table(ints, where, SHARED + GROUPS)))
    unitary_backward(
        begin, end, states(kept, sizes, COLUMNS_RE, rows),
        costates(used, sizes, rows),
        table(ints, where, TAIL), (d_re, d_im, d_quads[where[HEAD, 1] :]),
        parts[len(parts) - columns :],
    )  # fmt: skip


@njit(**PART)
def backward_parameters(  # type: ignore[no-untyped-def]
    where, ints, floats, sizes, weights, kept, used, sums, g_inputs, g_weights
):
    """Gradients of inputs (batch, inputs) and weights from overlaps and slopes."""
    groups, pairs, factors = matrices_of(where, ints, floats, SHARED)
    parts = overlaps(sums, sizes, len(groups))
    total = parts[0]
    for part in range(1, len(parts)):
        for c in range(2):
            add_rows(total[c], parts[part, c])
    y_re, y_im = rows_like(total.shape[1], kept), rows_like(total.shape[1], kept)
    for e in range(len(y_re)):
        for lane in range(16):
            y_re[e, lane], y_im[e, lane] = total[0, e, lane], total[1, e, lane]
    flat = np.zeros(16 * len(pairs), kept.dtype)
    shared = view2(flat, 0, (len(pairs), 16))
    chain(
        groups, pairs, factors, *generators_of(where, ints, floats, SHARED),
        table(kept, sizes, COS), table(kept, sizes, SIN), y_re, y_im, shared, rows_like(64, kept),
    )  # fmt: skip
    sum_weights = np.zeros(len(weights))
    pull_back(
        view2(flat, 0, (1, len(flat))),
        *angles_of(where, ints, floats, SHARED),
        g_inputs,
        sum_weights,
    )
    slopes = table(used, sizes, SLOPES)
    pull_back(slopes, *angles_of(where, ints, floats, OWN), g_inputs, sum_weights)
    for k in range(len(sum_weights)):
        g_weights[k] = sum_weights[k]


@njit(**OPTIONS)
def backward(  # type: ignore[no-untyped-def]
    phase, begin, end, where, ints, floats, sizes, inputs, weights, kept, used, sums, grad, stop,
    g_inputs, g_weights,
):  # fmt: skip
    """Gradients of inputs and weights (zeros before) from those of the outputs."""
    kept, used, sums = from_cache_line(kept), from_cache_line(used), from_cache_line(sums)
    rows = line(ints, where, FLAGS)[1]
    units, columns = sizes[STATE_RE, 1] // rows, sizes[COLUMNS_RE, 1] // rows
    if phase in (ALL, MATRICES):
        backward_shared(where, ints, floats, sizes, kept, used)
    if phase in (ALL, SAMPLES):
        last = units if phase == ALL else end
        backward_samples(
            where, ints, floats, sizes, inputs, weights, kept, used, sums, grad, stop, begin, last
        )
    if phase in (ALL, UNITARY):
        last = columns if phase == ALL else end
        backward_columns(where, ints, floats, sizes, kept, used, sums, begin, last)
    if phase in (ALL, PARAMETERS):
        backward_parameters(
            where, ints, floats, sizes, weights, kept, used, sums, g_inputs, g_weights
        )


@njit(**OPTIONS)
def amplitude_slopes(where, ints, floats, sizes, inputs, weights, used):  # type: ignore[no-untyped-def]
    """Slopes from the overlaps of the samples' own matrices, where the lanes are amplitudes."""
    used = from_cache_line(used)
    own = len(table(ints, where, OWN + GROUPS))
    own_slopes(
        inputs, weights, *waves_of(where, ints, floats, OWN),
        *matrices_of(where, ints, floats, OWN), *generators_of(where, ints, floats, OWN),
        *states(used, sizes, OWN_RE, 16 * own + 1), table(used, sizes, SLOPES),
    )  # fmt: skip
