import numpy as np
import pytest
import torch

from nisqkit.circuits import Observables
from nisqkit.hardware_backends.ibm.counts import Counts, estimate
from nisqkit.hardware_backends.ibm.redact import redact
from nisqkit.hardware_backends.qiskit_primitives import _estimate


@pytest.mark.parametrize("num_qubits", [2, 9, 18])
def test_values_are_those_of_the_bits(num_qubits: int) -> None:
    """Against the shot-by-shot estimate of the primitives' backend, bytes above 2 included."""
    from nisqkit.circuits import Task, angle, lower

    random = np.random.default_rng(num_qubits)
    width = -(-num_qubits // 8)
    bits = random.integers(0, 256, (3, 50, width), dtype=np.uint8)
    bits[..., 0] &= 2 ** (num_qubits - 8 * (width - 1)) - 1
    strings = ["Z" * num_qubits, "I" * (num_qubits - 1) + "Z", "Z" + "I" * (num_qubits - 1)]
    observables = Observables.parse(strings, num_qubits)
    task = Task(
        lower(angle(num_qubits), "x"), torch.zeros(3, num_qubits), torch.zeros(0), observables, 50
    )
    counts = Counts.from_bits(bits)
    found, wanted = estimate([counts], observables, torch.float64), _estimate([bits], task)
    assert found.std is not None and wanted.std is not None
    torch.testing.assert_close(found.values.float(), wanted.values.float())
    torch.testing.assert_close(found.std.float(), wanted.std.float())


def test_parts_join_to_the_whole() -> None:
    bits = np.random.default_rng(0).integers(0, 4, (6, 20, 1), dtype=np.uint8)
    whole = Counts.from_bits(bits)
    joined = Counts.join([whole.part(0, 2), whole.part(2, 3), whole.part(3, 6)])
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), array)


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abc.def-ghi",
        "apikey=9xY",
        "'token': 'a1b2'",
        "eyJhbGciOi.eyJzdWIi.SflKx",
        "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEf",
        "0123456789abcdef" * 8,
    ],
)
def test_secrets_are_cut_out(secret: str) -> None:
    text = redact(f"failed with {secret} at https://quantum.cloud.ibm.com")
    assert text.startswith("failed with") and "quantum.cloud" in text
    assert "[secret]" in text and secret.split("'")[-2 if "'" in secret else 0] not in text


def test_job_ids_stay() -> None:
    text = "job d4j1q2k3r4s5t6u7v8w9 with tag nisqkit-0123456789abcdef0123456789abcdef failed"
    assert redact(text) == text
