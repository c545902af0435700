"""The memory check: what the machine says, and what the error says."""

import builtins
import os
from typing import Any

import pytest

from nisqkit.hardware_backends.memory import available_bytes, check_memory


def test_available_memory_is_a_part_of_the_machines() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**20 < available_bytes() <= total


def test_what_fits_passes() -> None:
    check_memory(3, 1024)
    check_memory(3, 0)


def test_what_does_not_fit_is_an_error() -> None:
    message = (
        r"a state of 60 qubits for this batch takes 2e\+09 GiB, but [0-9.e+]+ GiB of memory are "
        "available; use fewer qubits, a smaller batch or float32"
    )
    with pytest.raises(ValueError, match=message):
        check_memory(60, 2 * 10**9 * 2**30)


def test_machines_without_proc_tell_their_whole_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", refuse)
    assert available_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.delattr(os, "sysconf")
    assert available_bytes() == 2**63  # nothing is known, so nothing is refused
    check_memory(40, 2**44)


def test_a_density_matrix_is_called_one() -> None:
    with pytest.raises(ValueError, match=r"a density matrix of 20 qubits.*give shots="):
        check_memory(20, 2**60, density=True)
