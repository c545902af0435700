"""Numba kernels of the native engine.

A tile of the state is two arrays ``re, im`` of shape ``(2**n, lanes)``: the batch is the innermost
axis, so that every gate on every qubit is the same unit-stride loop over lanes. Matrices come per
block, either shared by all lanes (``(16,)`` entries) or one per lane (``(16, lanes)``); a matrix on
one qubit uses the first four entries.

The kernels release the GIL and know nothing of gates: a block is a 2x2 or 4x4 matrix, CX or CZ, and
a matrix is a product of factors ``C0 + cos(s a) C1 + sin(s a) C2`` (``circuits/gates.py``).
"""

# Shapes: L lanes, D = 2**n amplitudes, K blocks, F factors, P angles, S Pauli strings.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

ONE, TWO, CX, CZ = 0, 1, 2, 3
"""Block kinds: a matrix on one qubit, a matrix on two, and two gates that need no arithmetic."""

# No fast-math: the compiler may then neither reorder nor fuse, so that a kernel gives the same bits
# wherever it is inlined. Multiply-adds are written out with `fma`.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}


def _fma(typing_context, a, b, c):  # type: ignore[no-untyped-def]
    """``a * b + c``, rounded once."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fma(*arguments)

    return a(a, a, a), generate


fma: Any = intrinsic(_fma)


@njit(**_OPTIONS)
def real(ar, ai, xr, xi, plus):  # type: ignore[no-untyped-def]
    """Real part of ``a * x + plus``."""
    return fma(ar, xr, fma(-ai, xi, plus))


@njit(**_OPTIONS)
def imag(ar, ai, xr, xi, plus):  # type: ignore[no-untyped-def]
    """Imaginary part of ``a * x + plus``."""
    return fma(ar, xi, fma(ai, xr, plus))


@njit(**_OPTIONS)
def factor(f, slot, frequency, table, angles, lane, dim, out_re, out_im, derivative):  # type: ignore[no-untyped-def]
    """Entries of factor ``f`` (or of its derivative) for lane ``l``, row by row."""
    s = frequency[f]
    if slot[f] < 0:
        c0, c1, c2 = 1.0, 0.0, 0.0
    else:
        phase = s * np.float64(angles[slot[f], lane])
        c0, c1, c2 = 1.0, np.cos(phase), np.sin(phase)
        if derivative:
            c0, c1, c2 = 0.0, -s * c2, s * c1
    for e in range(dim * dim):
        value = c0 * table[f, 0, e] + c1 * table[f, 1, e] + c2 * table[f, 2, e]
        out_re[e] = value.real
        out_im[e] = value.imag


@njit(**_OPTIONS)
def build(first, last, dims, slot, frequency, table, angles, u_re, u_im):  # type: ignore[no-untyped-def]
    """Block matrices ``u[k] = F_last ... F_first`` for every lane.

    ``angles`` is (P, L), ``u_re`` is (K, 16, L).
    """
    f_re, f_im = np.empty(16), np.empty(16)
    a_re, a_im = np.empty(16), np.empty(16)
    b_re, b_im = np.empty(16), np.empty(16)
    for k in range(len(dims)):
        dim = dims[k]
        for lane in range(angles.shape[1]):
            for e in range(dim * dim):
                a_re[e] = 1.0 if e % (dim + 1) == 0 else 0.0
                a_im[e] = 0.0
            for f in range(first[k], last[k]):
                factor(f, slot, frequency, table, angles, lane, dim, f_re, f_im, False)
                multiply(f_re, f_im, a_re, a_im, dim, b_re, b_im)
                a_re, b_re = b_re, a_re
                a_im, b_im = b_im, a_im
            for e in range(dim * dim):
                u_re[k, e, lane] = a_re[e]
                u_im[k, e, lane] = a_im[e]


@njit(**_OPTIONS)
def multiply(x_re, x_im, y_re, y_im, dim, out_re, out_im):  # type: ignore[no-untyped-def]
    """``out = x @ y`` of complex ``dim x dim`` matrices, row by row in flat arrays."""
    for r in range(dim):
        for c in range(dim):
            re, im = 0.0, 0.0
            for m in range(dim):
                p, q = r * dim + m, m * dim + c
                re += x_re[p] * y_re[q] - x_im[p] * y_im[q]
                im += x_re[p] * y_im[q] + x_im[p] * y_re[q]
            out_re[r * dim + c] = re
            out_im[r * dim + c] = im


@njit(**_OPTIONS)
def chain(first, last, dims, slot, frequency, table, angles, m_re, m_im, grad):  # type: ignore[no-untyped-def]
    """Angle gradients from overlap matrices.

    ``grad[p, lane] += 2 Re sum_ab M_ab dU_ab / d angle_p``.
    With ``U = S F P`` for one factor ``F``, the sum is that of ``(S^T M P^T) * dF``, elementwise.
    """
    most = 1
    for k in range(len(dims)):
        most = max(most, last[k] - first[k])
    p_re, p_im = np.empty((most + 1, 16)), np.empty((most + 1, 16))
    f_re, f_im = np.empty(16), np.empty(16)
    y_re, y_im = np.empty(16), np.empty(16)
    z_re, z_im = np.empty(16), np.empty(16)
    for k in range(len(dims)):
        dim, count = dims[k], last[k] - first[k]
        for lane in range(angles.shape[1]):
            for e in range(dim * dim):
                p_re[0, e] = 1.0 if e % (dim + 1) == 0 else 0.0
                p_im[0, e] = 0.0
                y_re[e] = m_re[k, e, lane]
                y_im[e] = m_im[k, e, lane]
            for j in range(count - 1):
                factor(first[k] + j, slot, frequency, table, angles, lane, dim, f_re, f_im, False)
                multiply(f_re, f_im, p_re[j], p_im[j], dim, p_re[j + 1], p_im[j + 1])
            for j in range(count - 1, -1, -1):
                f = first[k] + j
                if slot[f] >= 0:
                    factor(f, slot, frequency, table, angles, lane, dim, f_re, f_im, True)
                    total = 0.0
                    for r in range(dim):
                        for c in range(dim):
                            d_re, d_im = f_re[r * dim + c], f_im[r * dim + c]
                            if d_re == 0.0 and d_im == 0.0:
                                continue
                            x_re, x_im = 0.0, 0.0
                            for m in range(dim):
                                p, q = r * dim + m, c * dim + m
                                x_re += y_re[p] * p_re[j, q] - y_im[p] * p_im[j, q]
                                x_im += y_re[p] * p_im[j, q] + y_im[p] * p_re[j, q]
                            total += x_re * d_re - x_im * d_im
                    grad[slot[f], lane] += 2.0 * total
                if j:
                    factor(f, slot, frequency, table, angles, lane, dim, f_re, f_im, False)
                    for r in range(dim):
                        for c in range(dim):
                            re, im = 0.0, 0.0
                            for m in range(dim):
                                p, q = m * dim + r, m * dim + c
                                re += f_re[p] * y_re[q] - f_im[p] * y_im[q]
                                im += f_re[p] * y_im[q] + f_im[p] * y_re[q]
                            z_re[r * dim + c] = re
                            z_im[r * dim + c] = im
                    y_re, z_re = z_re, y_re
                    y_im, z_im = z_im, y_im


@njit(**_OPTIONS)
def one_shared(re, im, q, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 2x2 matrix on qubit ``q``, the same for all lanes."""
    stride, lanes = 1 << q, re.shape[1]
    ar, br, cr, dr = u_re[0], u_re[1], u_re[2], u_re[3]
    ai, bi, ci, di = u_im[0], u_im[1], u_im[2], u_im[3]
    for base in range(0, re.shape[0], 2 * stride):
        for i in range(base, base + stride):
            j = i + stride
            for lane in range(lanes):
                xr, xi, yr, yi = re[i, lane], im[i, lane], re[j, lane], im[j, lane]
                re[i, lane] = real(ar, ai, xr, xi, fma(br, yr, -bi * yi))
                im[i, lane] = imag(ar, ai, xr, xi, fma(br, yi, bi * yr))
                re[j, lane] = real(cr, ci, xr, xi, fma(dr, yr, -di * yi))
                im[j, lane] = imag(cr, ci, xr, xi, fma(dr, yi, di * yr))


@njit(**_OPTIONS)
def one_lanes(re, im, q, u_re, u_im):  # type: ignore[no-untyped-def]
    """A 2x2 matrix per lane on qubit ``q``."""
    stride, lanes = 1 << q, re.shape[1]
    for base in range(0, re.shape[0], 2 * stride):
        for i in range(base, base + stride):
            j = i + stride
            for lane in range(lanes):
                xr, xi, yr, yi = re[i, lane], im[i, lane], re[j, lane], im[j, lane]
                ar, br, cr, dr = u_re[0, lane], u_re[1, lane], u_re[2, lane], u_re[3, lane]
                ai, bi, ci, di = u_im[0, lane], u_im[1, lane], u_im[2, lane], u_im[3, lane]
                re[i, lane] = real(ar, ai, xr, xi, fma(br, yr, -bi * yi))
                im[i, lane] = imag(ar, ai, xr, xi, fma(br, yi, bi * yr))
                re[j, lane] = real(cr, ci, xr, xi, fma(dr, yr, -di * yi))
                im[j, lane] = imag(cr, ci, xr, xi, fma(dr, yi, di * yr))


@njit(**_OPTIONS)
def insert_zeros(g, a, b):  # type: ignore[no-untyped-def]
    """The ``g``-th index whose bits ``a`` and ``b`` are zero."""
    low, high = min(a, b), max(a, b)
    g = ((g >> low) << (low + 1)) | (g & ((1 << low) - 1))
    return ((g >> high) << (high + 1)) | (g & ((1 << high) - 1))


@njit(**_OPTIONS)
def load_four(re, im, i, a, b, t_re, t_im):  # type: ignore[no-untyped-def]
    """Copy the four rows of a group into the scratch ``t``.

    It is contiguous, and apart from the rows that are written.
    """
    for r in range(4):
        row = i + ((r & 1) << a) + ((r >> 1) << b)
        for lane in range(re.shape[1]):
            t_re[r, lane] = re[row, lane]
            t_im[r, lane] = im[row, lane]


@njit(**_OPTIONS)
def two_shared(re, im, a, b, u_re, u_im, t_re, t_im):  # type: ignore[no-untyped-def]
    """A 4x4 matrix on qubits ``(a, b)``, the same for all lanes; row index ``2 bit_b + bit_a``."""
    lanes = re.shape[1]
    for g in range(re.shape[0] // 4):
        i = insert_zeros(g, a, b)
        load_four(re, im, i, a, b, t_re, t_im)
        for r in range(4):
            row = i + ((r & 1) << a) + ((r >> 1) << b)
            ar, br, cr, dr = u_re[4 * r], u_re[4 * r + 1], u_re[4 * r + 2], u_re[4 * r + 3]
            ai, bi, ci, di = u_im[4 * r], u_im[4 * r + 1], u_im[4 * r + 2], u_im[4 * r + 3]
            for lane in range(lanes):
                xr, xi, yr, yi = t_re[0, lane], t_im[0, lane], t_re[1, lane], t_im[1, lane]
                zr, zi, wr, wi = t_re[2, lane], t_im[2, lane], t_re[3, lane], t_im[3, lane]
                re[row, lane] = real(ar, ai, xr, xi, fma(br, yr, -bi * yi)) + real(
                    cr, ci, zr, zi, fma(dr, wr, -di * wi)
                )
                im[row, lane] = imag(ar, ai, xr, xi, fma(br, yi, bi * yr)) + imag(
                    cr, ci, zr, zi, fma(dr, wi, di * wr)
                )


@njit(**_OPTIONS)
def two_lanes(re, im, a, b, u_re, u_im, t_re, t_im):  # type: ignore[no-untyped-def]
    """A 4x4 matrix per lane on qubits ``(a, b)``."""
    lanes = re.shape[1]
    for g in range(re.shape[0] // 4):
        i = insert_zeros(g, a, b)
        load_four(re, im, i, a, b, t_re, t_im)
        for r in range(4):
            row = i + ((r & 1) << a) + ((r >> 1) << b)
            for lane in range(lanes):
                re[row, lane] = 0
                im[row, lane] = 0
            for c in range(4):
                e = 4 * r + c
                for lane in range(lanes):
                    ur, ui, xr, xi = u_re[e, lane], u_im[e, lane], t_re[c, lane], t_im[c, lane]
                    re[row, lane] = real(ur, ui, xr, xi, re[row, lane])
                    im[row, lane] = imag(ur, ui, xr, xi, im[row, lane])


@njit(**_OPTIONS)
def cx(re, im, a, b):  # type: ignore[no-untyped-def]
    """CX with control ``a`` and target ``b``: swap rows."""
    lanes = re.shape[1]
    for g in range(re.shape[0] // 4):
        i = insert_zeros(g, a, b) + (1 << a)
        j = i + (1 << b)
        for lane in range(lanes):
            re[i, lane], re[j, lane] = re[j, lane], re[i, lane]
            im[i, lane], im[j, lane] = im[j, lane], im[i, lane]


@njit(**_OPTIONS)
def cz(re, im, a, b):  # type: ignore[no-untyped-def]
    """CZ: flip the sign of the rows where both bits are one."""
    for g in range(re.shape[0] // 4):
        i = insert_zeros(g, a, b) + (1 << a) + (1 << b)
        for lane in range(re.shape[1]):
            re[i, lane] = -re[i, lane]
            im[i, lane] = -im[i, lane]


@njit(**_OPTIONS)
def overlap(x_re, x_im, y_re, y_im, a, b, dim, m_re, m_im):  # type: ignore[no-untyped-def]
    """``m[r * dim + c, lane] += conj(x_r) y_c``, summed over the other qubits, for each lane."""
    lanes = x_re.shape[1]
    for g in range(x_re.shape[0] // dim):
        i = insert_zeros(g, a, b) if dim == 4 else ((g >> a) << (a + 1)) | (g & ((1 << a) - 1))
        for r in range(dim):
            row = i + ((r & 1) << a) + ((r >> 1) << b)
            for c in range(dim):
                col, e = i + ((c & 1) << a) + ((c >> 1) << b), r * dim + c
                for lane in range(lanes):
                    xr, xi = x_re[row, lane], x_im[row, lane]
                    yr, yi = y_re[col, lane], y_im[col, lane]
                    m_re[e, lane] = fma(xr, yr, fma(xi, yi, m_re[e, lane]))
                    m_im[e, lane] = fma(xr, yi, fma(-xi, yr, m_im[e, lane]))


@njit(**_OPTIONS)
def apply(re, im, kind, a, b, per_lane, s_re, s_im, l_re, l_im, t_re, t_im):  # type: ignore[no-untyped-def]
    """One block on one tile: shared matrix ``s`` (16,) or per-lane matrix ``l`` (16, L)."""
    if kind == CX:
        cx(re, im, a, b)
    elif kind == CZ:
        cz(re, im, a, b)
    elif kind == ONE:
        if per_lane:
            one_lanes(re, im, a, l_re, l_im)
        else:
            one_shared(re, im, a, s_re, s_im)
    elif per_lane:
        two_lanes(re, im, a, b, l_re, l_im, t_re, t_im)
    else:
        two_shared(re, im, a, b, s_re, s_im, t_re, t_im)


@njit(**_OPTIONS)
def dagger(u_re, u_im, dims):  # type: ignore[no-untyped-def]
    """Conjugate transposes of matrices (K, 16, L)."""
    d_re, d_im = np.zeros_like(u_re), np.zeros_like(u_im)
    for k in range(len(dims)):
        dim = dims[k]
        for r in range(dim):
            for c in range(dim):
                for lane in range(u_re.shape[2]):
                    d_re[k, r * dim + c, lane] = u_re[k, c * dim + r, lane]
                    d_im[k, r * dim + c, lane] = -u_im[k, c * dim + r, lane]
    return d_re, d_im


@njit(**_OPTIONS)
def forward(re, im, blocks, s_re, s_im, lane_factors, table, lane_angles):  # type: ignore[no-untyped-def]
    """Run all blocks on one tile, in place.

    Args:
        re: Real part of the state, (D, L).
        im: Its imaginary part.
        blocks: (K, 5) integers: kind, qubit a, qubit b, 1 if the matrix is per lane, index of the
            matrix.
        s_re: Real part of the shared matrices, (Ks, 16).
        s_im: Their imaginary part.
        lane_factors: ``(first, last, dims, slot, frequency)`` of the per-lane matrices, see
            `build`.
        table: Factor coefficients, (F, 3, 16).
        lane_angles: (P, L).
    """
    first, last, dims, slot, frequency = lane_factors
    lanes = re.shape[1]
    l_re = np.empty((len(dims) + 1, 16, lanes), re.dtype)
    l_im = np.empty((len(dims) + 1, 16, lanes), re.dtype)
    build(first, last, dims, slot, frequency, table, lane_angles, l_re, l_im)
    t_re, t_im = np.empty((4, lanes), re.dtype), np.empty((4, lanes), re.dtype)
    for k in range(len(blocks)):
        kind, a, b = blocks[k, 0], blocks[k, 1], blocks[k, 2]
        per_lane, m = blocks[k, 3], blocks[k, 4]
        ms, ml = (0, m) if per_lane else (m, 0)
        apply(re, im, kind, a, b, per_lane, s_re[ms], s_im[ms], l_re[ml], l_im[ml], t_re, t_im)


@njit(**_OPTIONS)
def backward(  # type: ignore[no-untyped-def]
    re, im, c_re, c_im, blocks, s_re, s_im, lane_factors, table, lane_angles, lane_grad, s_m
):
    """Un-apply all blocks on the state and the co-state and collect gradients; in place.

    Args:
        re: Real part of the final state (D, L); afterwards of the initial one.
        im: Its imaginary part.
        c_re: Real part of the co-state ``sum_k g_k O_k psi`` (D, L); afterwards of that of the
            initial state.
        c_im: Its imaginary part.
        blocks: As in `forward`.
        s_re: Shared matrices, conjugate transposed: real part.
        s_im: Their imaginary part.
        lane_factors: As in `forward`.
        table: As in `forward`.
        lane_angles: As in `forward`.
        lane_grad: (P, L), gradients of the per-lane angles are added.
        s_m: (2, Ks, 16) float64, overlaps of the shared matrices summed over the lanes are added.
    """
    first, last, dims, slot, frequency = lane_factors
    lanes = re.shape[1]
    l_re = np.empty((len(dims) + 1, 16, lanes), re.dtype)
    l_im = np.empty((len(dims) + 1, 16, lanes), re.dtype)
    build(first, last, dims, slot, frequency, table, lane_angles, l_re, l_im)
    l_re, l_im = dagger(l_re, l_im, dims)
    lm_re, lm_im = np.zeros_like(l_re), np.zeros_like(l_im)
    m_re, m_im = np.empty((16, lanes), re.dtype), np.empty((16, lanes), re.dtype)
    t_re, t_im = np.empty((4, lanes), re.dtype), np.empty((4, lanes), re.dtype)
    for k in range(len(blocks) - 1, -1, -1):
        kind, a, b = blocks[k, 0], blocks[k, 1], blocks[k, 2]
        per_lane, m = blocks[k, 3], blocks[k, 4]
        ms, ml = (0, m) if per_lane else (m, 0)
        apply(re, im, kind, a, b, per_lane, s_re[ms], s_im[ms], l_re[ml], l_im[ml], t_re, t_im)
        if kind in (ONE, TWO):
            dim = 2 if kind == ONE else 4
            if per_lane:
                overlap(c_re, c_im, re, im, a, b, dim, lm_re[m], lm_im[m])
            else:
                m_re[:] = 0
                m_im[:] = 0
                overlap(c_re, c_im, re, im, a, b, dim, m_re, m_im)
                for e in range(dim * dim):
                    for lane in range(lanes):
                        s_m[0, m, e] += m_re[e, lane]
                        s_m[1, m, e] += m_im[e, lane]
        apply(c_re, c_im, kind, a, b, per_lane, s_re[ms], s_im[ms], l_re[ml], l_im[ml], t_re, t_im)
    chain(first, last, dims, slot, frequency, table, lane_angles, lm_re, lm_im, lane_grad)


@njit(**_OPTIONS)
def parity(i):  # type: ignore[no-untyped-def]
    """+1 for an even number of ones in ``i``, -1 for an odd number."""
    i ^= i >> 32
    i ^= i >> 16
    i ^= i >> 8
    i ^= i >> 4
    return 1 - 2 * ((0x6996 >> (i & 15)) & 1)


@njit(**_OPTIONS)
def expectations(re, im, strings, out):  # type: ignore[no-untyped-def]
    """``out[s, lane] = <P_s>``.

    ``strings`` is (S, 3): X mask, Z mask (Y sets both), number of Y modulo 4.
    """
    for s in range(len(strings)):
        x, z, ys = strings[s, 0], strings[s, 1], strings[s, 2]
        for lane in range(re.shape[1]):
            out[s, lane] = 0
        for j in range(re.shape[0]):
            i = j ^ x
            sign = parity(j & z) * (1 if ys == 0 or ys == 3 else -1)
            if ys % 2 == 0:
                for lane in range(re.shape[1]):
                    out[s, lane] += sign * (re[i, lane] * re[j, lane] + im[i, lane] * im[j, lane])
            else:
                for lane in range(re.shape[1]):
                    out[s, lane] += sign * (re[i, lane] * im[j, lane] - im[i, lane] * re[j, lane])


@njit(**_OPTIONS)
def costate(re, im, strings, h, c_re, c_im):  # type: ignore[no-untyped-def]
    """``c = sum_s h[s, lane] P_s psi``."""
    c_re[:] = 0
    c_im[:] = 0
    for s in range(len(strings)):
        x, z, ys = strings[s, 0], strings[s, 1], strings[s, 2]
        for j in range(re.shape[0]):
            i = j ^ x
            sign = parity(j & z) * (1 if ys == 0 or ys == 1 else -1)
            if ys % 2 == 0:
                for lane in range(re.shape[1]):
                    c_re[i, lane] += sign * h[s, lane] * re[j, lane]
                    c_im[i, lane] += sign * h[s, lane] * im[j, lane]
            else:
                for lane in range(re.shape[1]):
                    c_re[i, lane] -= sign * h[s, lane] * im[j, lane]
                    c_im[i, lane] += sign * h[s, lane] * re[j, lane]
