"""Windows keep the order of gates on every qubit, and moves put axes where they say."""

import pytest
import torch

from nisqkit.circuits import angle, encoder, hardware_efficient, lower, u3_cu3
from nisqkit.hardware_backends.conformance import random_circuit
from nisqkit.hardware_backends.native.schedule import schedule
from nisqkit.hardware_backends.torch_windows import (
    BATCH,
    OWN_WIDTH,
    PAIR,
    SHARED_WIDTH,
    Move,
    fuse,
    walk,
)


@pytest.mark.parametrize("inputs", ["x", None])
@pytest.mark.parametrize("seed", range(5))
def test_every_block_is_in_one_window_and_in_order(seed: int, inputs: str | None) -> None:
    blocks = schedule(lower(random_circuit(7, 80, seed), inputs)).blocks
    windows = fuse(blocks)
    applied = [block for window in windows for block in window.blocks]
    assert len(applied) == len(blocks)
    for q in range(7):
        assert [b for b in applied if q in b.qubits] == [b for b in blocks if q in b.qubits]
    for window in windows:
        assert {q for b in window.blocks for q in b.qubits} == set(window.qubits)
        assert len(window.qubits) <= (OWN_WIDTH if window.own else SHARED_WIDTH)
        assert window.own == any(b.own for b in window.blocks)
        assert not (window.own and any(b.trained and not b.own for b in window.blocks))


def test_the_trained_part_of_a_small_circuit_is_one_window() -> None:
    program = lower(encoder("4x4_ryzxy").compose(u3_cu3(4, 8)), "x")
    windows = fuse(schedule(program).blocks)
    assert [(w.own, len(w.qubits)) for w in windows] == [(True, 2), (True, 2), (False, 4)]


def test_a_ring_takes_few_windows_and_fewer_moves() -> None:
    """Three of the 12 bonds of a ring fit into a window; only every third one has to be moved."""
    program = lower(angle(12).compose(hardware_efficient(12, 6)), "x")
    windows = [w for w in fuse(schedule(program).blocks) if not w.own]
    assert len(windows) == 6 * 12 // 3
    found = walk(windows, range(12))
    assert sum(len(move.order) > 1 for move in found.forward) <= len(windows) // 3


@pytest.mark.parametrize("behind", [0, 2, 9])
def test_moves_put_windows_where_steps_expect_them(behind: int) -> None:
    """Amplitudes that say which axis they vary along; the pair is a second state, shifted."""
    n, batch = 6, 3
    windows = fuse(schedule(lower(random_circuit(n, 60, 3), "x")).blocks)
    start = [2, 0, 1, 5, 4, 3]
    found = walk(windows, start, behind)
    qubits = torch.arange(2**n).reshape([2] * n)
    named = torch.stack([(qubits >> q) & 1 for q in range(n)])  # by qubit, axes 5 ... 0
    canonical = named.reshape(n, 2**n, 1).expand(-1, -1, batch)
    values = (canonical * 2 ** torch.arange(n)[:, None, None]).sum(0) + 64 * torch.arange(batch)
    begin = Move.between([*reversed(range(n)), BATCH], [*start, BATCH])(values, batch)
    state = begin
    for window, before, move in zip(windows, found.before, found.forward, strict=True):
        state = move(state.contiguous(), batch).contiguous().reshape(-1)
        width = len(window.qubits)
        shape = (batch, 2**width, -1) if window.own else (2**before, 2**width, -1)
        rows = state.reshape(shape)
        for k, q in enumerate(window.qubits):
            bit = (torch.arange(2**width) >> (width - 1 - k)) & 1
            assert torch.equal((rows >> q) & 1, bit[None, :, None].expand_as(rows))
    final = found.finish(state, batch).reshape(2**n, batch)
    assert torch.equal(final, values)
    pair = torch.stack([final, final + 1024])
    for window, before, move in list(zip(windows, found.before, found.backward, strict=True))[::-1]:
        pair = move(pair.contiguous(), batch).contiguous()
        width = len(window.qubits)
        rows = pair.reshape((batch, 2**width, -1) if window.own else (2 * 2**before, 2**width, -1))
        for k, q in enumerate(window.qubits):
            bit = (torch.arange(2**width) >> (width - 1 - k)) & 1
            assert torch.equal((rows >> q) & 1, bit[None, :, None].expand_as(rows))
        halves = rows.tensor_split(2, dim=2) if window.own else rows.tensor_split(2)
        assert bool((halves[0] < 1024).all()) and bool((halves[1] >= 1024).all())
    pair = found.start(pair, batch).reshape(2, 2**n, batch)
    assert torch.equal(pair[0], begin.reshape(2**n, batch))
    assert torch.equal(pair[1], pair[0] + 1024)


def test_move_is_a_transpose() -> None:
    state = torch.randn(2, 2, 2, 2, 5)
    move = Move.between([PAIR, 2, 1, 0, BATCH], [BATCH, 1, PAIR, 2, 0])
    expected = state.permute(4, 2, 0, 1, 3)
    assert torch.equal(move(state, 5).flatten(), expected.flatten())
