"""Wide circuits: one sample at a time, in passes over chunks of its state that fit in the cache.

A pass works on some of the row bits (`operations.CHUNK_BITS`). For each value of the other bits,
the rows are gathered into a buffer, all operations of the pass run on it, and the rows are put
back.
Threads divide the chunks of a pass; sums over chunks are taken in order, so that the number of
threads changes no number.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit

from nisqkit.hardware_backends.native import matrices, steps, units
from nisqkit.hardware_backends.native.compiling import OPTIONS
from nisqkit.hardware_backends.native.packed import rows_like
from nisqkit.hardware_backends.native.plan import Array
from nisqkit.hardware_backends.native.rows import backward, forward
from nisqkit.hardware_backends.native.run import Run, divide
from nisqkit.hardware_backends.native.strings import costate_of_rows, expectations_of_rows
from nisqkit.hardware_backends.native.vectors import LANES, copy

PARTS = 64
"""Parts of the rows, or of the chunks, whose sums are taken apart."""


@njit(**OPTIONS)
def move(source, target, rows, base, inwards):  # type: ignore[no-untyped-def]
    """Gather the rows ``base + rows`` of the source (``inwards``), or put them back."""
    for r in range(len(rows)):
        if inwards:
            copy(target, r, source, base + rows[r])
        else:
            copy(target, base + rows[r], source, r)


@njit(**OPTIONS)
def forward_chunks(  # type: ignore[no-untyped-def]
    re, im, inner, outer, ops, s_re, s_im, s_quads, own_re, own_im, sample, first, last
):
    """`rows.forward` on chunks ``first <= c < last``: rows ``outer[c] + inner``."""
    b_re, b_im = rows_like(len(inner), re), rows_like(len(inner), re)
    scratch = np.empty((2, 32), re.dtype)
    for c in range(first, last):
        move(re, b_re, inner, outer[c], True)
        move(im, b_im, inner, outer[c], True)
        forward(b_re, b_im, ops, s_re, s_im, s_quads, own_re, own_im, sample, scratch)
        move(b_re, re, inner, outer[c], False)
        move(b_im, im, inner, outer[c], False)


@njit(**OPTIONS)
def backward_chunks(  # type: ignore[no-untyped-def]
    re, im, c_re, c_im, inner, outer, ops, s_re, s_im, s_quads, own_re, own_im,
    sample, sy, own_y_re, own_y_im, first, last,
):  # fmt: skip
    """`rows.backward` on parts ``first <= k < last`` of the chunks.

    The overlaps of each part are kept apart (first axis).
    """
    b_re, b_im = rows_like(len(inner), re), rows_like(len(inner), re)
    scratch = np.empty((2, 32), re.dtype)
    d_re, d_im = rows_like(len(inner), re), rows_like(len(inner), re)
    for k in range(first, last):
        for c in range(len(outer) * k // len(sy), len(outer) * (k + 1) // len(sy)):
            move(re, b_re, inner, outer[c], True)
            move(im, b_im, inner, outer[c], True)
            move(c_re, d_re, inner, outer[c], True)
            move(c_im, d_im, inner, outer[c], True)
            backward(
                b_re, b_im, d_re, d_im, ops, 0, s_re, s_im, s_quads, own_re, own_im, sample,
                sy[k], own_y_re[k], own_y_im[k], scratch,
            )  # fmt: skip
            move(b_re, re, inner, outer[c], False)
            move(b_im, im, inner, outer[c], False)
            move(d_re, c_re, inner, outer[c], False)
            move(d_im, c_im, inner, outer[c], False)


@njit(**OPTIONS)
def expectation_parts(re, im, strings, out, first, last):  # type: ignore[no-untyped-def]
    """`strings.expectations_of_rows` for parts ``first <= k < last`` of the rows."""
    scratch = rows_like(1, re)
    for k in range(first, last):
        begin, end = re.shape[0] * k // PARTS, re.shape[0] * (k + 1) // PARTS
        expectations_of_rows(begin, end, re, im, strings, out[k], scratch)


@njit(**OPTIONS)
def costate_parts(re, im, strings, h, c_re, c_im, first, last):  # type: ignore[no-untyped-def]
    """`strings.costate_of_rows` for parts ``first <= k < last`` of the rows."""
    scratch = rows_like(1, re)
    for k in range(first, last):
        begin, end = re.shape[0] * k // PARTS, re.shape[0] * (k + 1) // PARTS
        costate_of_rows(begin, end, re, im, strings, h, c_re, c_im, scratch)


class WideRun(Run):
    """A `Run` whose plan has passes."""

    def _passes(self) -> list[tuple[Array, Array, slice]]:
        """Of each pass: rows within a chunk, first row of each chunk, and its operations."""
        result, begin = [], 0
        operations = self.plan.operations
        for bits, end in operations.passes:
            others = [b for b in range(operations.rows.bit_length() - 1) if b not in bits]
            result.append((_spread(list(bits)), _spread(others), slice(begin, end)))
            begin = end
        return result

    def _own(self, sample: int) -> tuple[Array, Array]:
        """The sample's own matrices, with those of the 15 beside it."""
        own, forms = self.plan.schedule.own, self.plan.own_forms[0]
        size = (16 * len(own.groups) + 1, LANES)
        u_re, u_im = np.empty(size, self.dtype), np.empty(size, self.dtype)
        cos, sin = np.empty((2, len(own.table), LANES), self.dtype)
        matrices.own_matrices(
            sample // LANES, self.inputs, self.weights, *forms.terms,
            own.groups, own.pairs, own.table, cos, sin, u_re, u_im,
            np.empty((1, LANES)), np.empty((64, LANES), self.dtype),
        )  # fmt: skip
        return u_re, u_im

    def _state(self, sample: int) -> tuple[Array, Array]:
        rows = slice(sample * self.plan.operations.rows, (sample + 1) * self.plan.operations.rows)
        re, im = (self.sizes.view(self.kept, k) for k in (steps.STATE_RE, steps.STATE_IM))
        return re[rows], im[rows]

    def _run_forward(self, start: Array, y: Array) -> None:
        plan, sizes = self.plan, self.sizes
        steps.forward(
            steps.MATRICES, 0, 0, *plan.static, sizes.where, self.inputs, self.weights, start,
            self.kept, y,
        )  # fmt: skip
        s_re, s_im, quads = (
            sizes.view(self.kept, k) for k in (steps.S_RE, steps.S_IM, steps.QUADS)
        )
        for b in range(self.batch):
            re, im = self._state(b)
            units.initial(b, re, im, start, plan.prepared[0], False)
            own = self._own(b)
            for inner, outer, ops in self._passes():
                table = plan.operations.table[ops]
                chunks = partial(
                    forward_chunks, re, im, inner, outer, table, s_re, s_im, quads[ops], *own,
                    b % LANES,
                )  # fmt: skip
                divide(chunks, len(outer), self.workers)
            y[b] = self._outputs(re, im)

    def _outputs(self, re: Array, im: Array) -> Array:
        plan = self.plan
        if len(plan.places):
            return np.asarray((re.ravel() ** 2 + im.ravel() ** 2)[plan.places])
        out = np.empty((PARTS, len(plan.strings), LANES), self.dtype)
        divide(partial(expectation_parts, re, im, plan.strings, out), PARTS, self.workers)
        total = out.sum(axis=0, dtype=np.float64) * plan.lane_signs
        return np.asarray(plan.coefficients @ total.sum(axis=1))

    def _run_backward(
        self, grad: Array, stop: int, used: Array, sums: Array, g_inputs: Array, g_weights: Array
    ) -> None:
        sizes = self.sizes
        arrays = (
            *self.plan.static, sizes.where, self.inputs, self.weights, self.kept, used, sums,
            grad, stop, g_inputs, g_weights,
        )  # fmt: skip
        steps.backward(steps.MATRICES, 0, 0, *arrays)
        own_y = [sizes.view(used, k) for k in (steps.OWN_RE, steps.OWN_IM)]
        size = 16 * len(self.plan.schedule.own.groups) + 1
        groups = 16 * len(self.plan.schedule.shared.groups) + 1
        sy = sizes.view(sums, steps.OVERLAPS).reshape(-1, 2, groups, LANES)
        for b in range(self.batch):
            re, im = (x.copy() for x in self._state(b))
            costate = self._costate(re, im, grad[b])
            overlaps = self._sample_backward(b, (re, im, *costate), used, sy[min(b, len(sy) - 1)])
            tile = slice(b // LANES * size, (b // LANES + 1) * size)
            for total, part in zip(own_y, overlaps, strict=True):
                total[tile] += part
            sizes.view(used, steps.G_START)[b] = 2 * costate[0].ravel()[self.plan.prepared[0]]
        self._amplitude_slopes(used)
        steps.backward(steps.PARAMETERS, 0, 0, *arrays)

    def _costate(self, re: Array, im: Array, grad: Array) -> tuple[Array, Array]:
        plan = self.plan
        if len(plan.places):
            weights = np.empty(re.size, self.dtype)
            weights[plan.places] = grad
            return weights.reshape(re.shape) * re, weights.reshape(re.shape) * im
        h = ((grad @ plan.coefficients)[:, None] * plan.lane_signs).astype(self.dtype)
        c_re, c_im = np.empty_like(re), np.empty_like(im)
        parts = partial(costate_parts, re, im, plan.strings, h, c_re, c_im)
        divide(parts, PARTS, self.workers)
        return c_re, c_im

    def _sample_backward(self, b: int, states: tuple[Array, ...], used: Array, sy: Array) -> Array:
        """Add the overlaps of the shared matrices to ``sy``; return those of the sample's own."""
        u_re, u_im = self._own(b)
        own = np.empty_like(u_re), np.empty_like(u_im)
        matrices.dagger(self.plan.schedule.own.groups, u_re, u_im, *own)
        d_re, d_im, quads = (
            self.sizes.view(used, k) for k in (steps.D_RE, steps.D_IM, steps.D_QUADS)
        )
        total = np.zeros((2, *own[0].shape), self.dtype)
        for inner, outer, ops in reversed(self._passes()):
            table = self.plan.operations.table[ops]
            parts = min(PARTS, len(outer))
            part_sy = np.zeros((parts, *sy.shape))
            part_own = np.zeros((2, parts, *own[0].shape), self.dtype)
            chunks = partial(
                backward_chunks, *states, inner, outer, table, d_re, d_im, quads[ops], *own,
                b % LANES, part_sy, *part_own,
            )  # fmt: skip
            divide(chunks, parts, self.workers)
            sy += part_sy.sum(axis=0)
            total += part_own.sum(axis=1)
        return total


def _spread(bits: list[int]) -> Array:
    """All numbers whose ones are among some bits, in the order of those bits."""
    numbers = np.arange(2 ** len(bits))
    result = np.zeros_like(numbers)
    for k, bit in enumerate(bits):
        result |= ((numbers >> k) & 1) << bit
    return result
