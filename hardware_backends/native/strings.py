"""Expectation values of Pauli strings, and their co-states; compiled by Numba."""

from __future__ import annotations

from numba import njit

from nisqkit.hardware_backends.native.compiling import INNER
from nisqkit.hardware_backends.native.vectors import odd, product_add, scaled_add


@njit(**INNER)
def expectations(re, im, strings, out, p):  # type: ignore[no-untyped-def]
    """``out[s, lane] = <P_s>``, over the lane's amplitudes; see `expectations_of_rows`."""
    expectations_of_rows(0, re.shape[0], re, im, strings, out, p)


@njit(**INNER)
def expectations_of_rows(first, last, re, im, strings, out, p):  # type: ignore[no-untyped-def]
    """The part of ``<P_s>`` that comes from the rows ``first <= j < last``.

    ``strings`` is (S, 4): row mask of the flips, row mask of the signs, lane mask of the flips,
    number of Y modulo 4; those without flips come first. Signs by lane are left to the caller.
    """
    out[:] = 0
    diagonal = count_diagonal(strings)
    if diagonal:
        for j in range(first, last):
            p[0] = 0
            product_add(p, 0, 1.0, re, j, re, j)
            product_add(p, 0, 1.0, im, j, im, j)
            for s in range(diagonal):
                scaled_add(out, s, 1.0 - 2.0 * odd(j & strings[s, 1]), p, 0)
    for s in range(diagonal, len(strings)):
        x, z, lanes, ys = strings[s, 0], strings[s, 1], strings[s, 2], strings[s, 3]
        turn = 1.0 if ys == 0 or ys == 3 else -1.0
        for j in range(first, last):
            i = j ^ x
            sign = turn * (1.0 - 2.0 * odd(j & z))
            if lanes:
                for lane in range(16):
                    k = lane ^ lanes
                    if ys % 2 == 0:
                        out[s, lane] += sign * (re[i, k] * re[j, lane] + im[i, k] * im[j, lane])
                    else:
                        out[s, lane] += sign * (re[i, k] * im[j, lane] - im[i, k] * re[j, lane])
            elif ys % 2 == 0:
                product_add(out, s, sign, re, i, re, j)
                product_add(out, s, sign, im, i, im, j)
            else:
                product_add(out, s, sign, re, i, im, j)
                product_add(out, s, -sign, im, i, re, j)


@njit(**INNER)
def count_diagonal(strings):  # type: ignore[no-untyped-def]
    """How many strings at the beginning have no flips."""
    count = 0
    while count < len(strings) and strings[count, 0] == 0 and strings[count, 2] == 0:
        count += 1
    return count


@njit(**INNER)
def costate(re, im, strings, h, c_re, c_im, p):  # type: ignore[no-untyped-def]
    """``c = sum_s h[s, lane] P_s psi``, with the signs by lane in ``h``."""
    costate_of_rows(0, re.shape[0], re, im, strings, h, c_re, c_im, p)


@njit(**INNER)
def costate_of_rows(first, last, re, im, strings, h, c_re, c_im, p):  # type: ignore[no-untyped-def]
    """The rows ``first <= i < last`` of `costate`; ``strings`` as in `expectations_of_rows`."""
    diagonal = count_diagonal(strings)
    for i in range(first, last):
        p[0] = 0
        for s in range(diagonal):
            scaled_add(p, 0, 1.0 - 2.0 * odd(i & strings[s, 1]), h, s)
        c_re[i] = 0
        c_im[i] = 0
        product_add(c_re, i, 1.0, p, 0, re, i)
        product_add(c_im, i, 1.0, p, 0, im, i)
    for s in range(diagonal, len(strings)):
        x, z, lanes, ys = strings[s, 0], strings[s, 1], strings[s, 2], strings[s, 3]
        turn = 1.0 if ys == 0 or ys == 1 else -1.0
        for i in range(first, last):
            j = i ^ x
            sign = turn * (1.0 - 2.0 * odd(j & z))
            if lanes:
                for k in range(16):
                    lane = k ^ lanes
                    if ys % 2 == 0:
                        c_re[i, k] += sign * h[s, lane] * re[j, lane]
                        c_im[i, k] += sign * h[s, lane] * im[j, lane]
                    else:
                        c_re[i, k] -= sign * h[s, lane] * im[j, lane]
                        c_im[i, k] += sign * h[s, lane] * re[j, lane]
            elif ys % 2 == 0:
                product_add(c_re, i, sign, h, s, re, j)
                product_add(c_im, i, sign, h, s, im, j)
            else:
                product_add(c_re, i, -sign, h, s, im, j)
                product_add(c_im, i, sign, h, s, re, j)
