"""What the runtime raises, and what becomes of it. There is no account here, and no network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeJobNotFound,
)
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ConnectTimeout, ReadTimeout

from nisqkit.hardware_backends.ibm import IBMBackend
from nisqkit.hardware_backends.ibm.account import IBMService, _errors, _sending
from nisqkit.hardware_backends.ibm.service import Gone, MaybeSent, NotSent, Passing, Refused

TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdEf"


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE", "QISKIT_IBM_CHANNEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NISQKIT_LEDGER", str(tmp_path / "ibm.sqlite"))
    from qiskit_ibm_runtime.accounts import management

    file = str(tmp_path / "none.json")
    monkeypatch.setattr(management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", file)


def test_no_account(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no account of IBM Quantum on this .*save_account.*ibm:fake_fez"
    ):
        IBMBackend("ibm_fez").device  # noqa: B018
    with pytest.raises(ValueError, match="no account of IBM Quantum named 'work'"):
        IBMService("ibm_fez", account="work").runtime  # noqa: B018
    assert not (tmp_path / "ibm.sqlite").exists()  # nothing is written by us


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (IBMNotAuthorizedError(f"401: token: {TOKEN}"), r"does not let this account in .*expired"),
        (IBMInputValueError("not valid"), "instance 'mine' is not one of this account"),
    ],
)
def test_an_expired_token_and_an_unknown_instance(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    import qiskit_ibm_runtime

    def refuse(**given: Any) -> None:
        raise error

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", refuse)
    with pytest.raises(ValueError, match=message) as shown:
        IBMService("ibm_fez", instance="mine").runtime  # noqa: B018
    assert TOKEN not in str(shown.value)


def test_an_unknown_machine() -> None:
    from qiskit.providers.exceptions import QiskitBackendNotFoundError

    def none(name: str) -> None:
        raise QiskitBackendNotFoundError("no")

    machines = [SimpleNamespace(name="ibm_fez"), SimpleNamespace(name="ibm_torino")]
    service = IBMService("ibm_fezz")
    service.runtime = SimpleNamespace(backend=none, backends=lambda: machines)
    with pytest.raises(
        ValueError, match="unknown backend 'ibm:ibm_fezz'; did you mean 'ibm:ibm_fez'"
    ):
        service.backend  # noqa: B018


def api_error(status: int) -> Exception:
    """As the runtime raises it: the status is in the context only."""
    try:
        try:
            raise RequestsApiError(f"{status}: Bearer {TOKEN}", status)
        except RequestsApiError as error:
            raise IBMRuntimeError(f"Failed to run program: {error}") from None
    except IBMRuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (api_error(429), NotSent),  # too many jobs a minute
        (ConnectTimeout("no"), NotSent),
        (api_error(400), Refused),
        (api_error(403), Refused),
        (IBMInputValueError("bad"), Refused),
        (IBMNotAuthorizedError("401"), Refused),
        (ValueError("not an ISA circuit"), Refused),
        (api_error(500), MaybeSent),
        (api_error(502), MaybeSent),
        (ReadTimeout("slow"), MaybeSent),
        (NoConnection("reset by peer"), MaybeSent),
        (ConnectionResetError("reset"), MaybeSent),
    ],
)
def test_what_a_submission_raises(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as found, _sending():
        raise error
    assert type(found.value) is kind and TOKEN not in str(found.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (api_error(503), Passing),
        (NoConnection("no"), Passing),
        (api_error(404), Gone),
        (RuntimeJobNotFound("no such job"), Gone),
        (api_error(400), Refused),
        (IBMNotAuthorizedError("401"), Refused),
    ],
)
def test_what_a_question_raises(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as found, _errors(Passing):
        raise error
    assert type(found.value) is kind and TOKEN not in str(found.value)


def test_a_job_from_its_tag_to_its_result() -> None:
    """The adapter with the runtime's own primitives on a fake machine."""
    from dataclasses import replace

    import torch
    from qiskit_aer import AerSimulator

    from nisqkit.hardware_backends.conformance import random_task

    kept: dict[str, Any] = {}

    class Machine(AerSimulator):  # type: ignore[misc]
        num_qubits = 5

    service = IBMService("ibm_x")
    service.runtime = SimpleNamespace(
        job=lambda job_id: kept[job_id], jobs=lambda job_tags, limit: list(kept.values())
    )
    service.backend = Machine()
    task = replace(random_task(2, seed=1, batch=2), shots=100)
    with torch.no_grad():
        (job,), _ = IBMBackend("fake_manila").jobs([task])
    from nisqkit.hardware_backends.ibm import account

    run = account.run_pubs

    def keeping(runner: Any, job: Any, width: int | None) -> Any:
        assert runner.options.environment.job_tags[0] == "nisqkit-1"
        sent = run(runner, job, width)
        kept[sent.job_id()] = sent
        return sent

    account.run_pubs = keeping
    try:
        number = service.submit(job, "nisqkit-1")
    finally:
        account.run_pubs = run
    assert service.find("nisqkit-1") == [number]
    (counts, *_) = service.result(number, job)
    assert counts.rows == 2


@pytest.mark.parametrize(
    ("mode", "count", "kinds"),
    [
        ("auto", 1, []),
        ("auto", 3, ["Batch", "closed"]),
        ("job", 3, []),
        ("batch", 1, ["Batch", "closed"]),
        ("session", 3, ["Session"]),
    ],
)
def test_what_is_opened_around_jobs(
    monkeypatch: pytest.MonkeyPatch, mode: str, count: int, kinds: list[str]
) -> None:
    import qiskit_ibm_runtime

    seen: list[str] = []

    def opening(kind: str) -> Any:
        def opened(backend: Any) -> Any:
            seen.append(kind)
            return SimpleNamespace(close=lambda: seen.append("closed"))

        return opened

    for kind in ("Batch", "Session"):
        monkeypatch.setattr(qiskit_ibm_runtime, kind, opening(kind))
    service = IBMService("ibm_x", mode=mode)
    service.backend = SimpleNamespace(num_qubits=5)
    with service.group(count):
        modes = [service._mode() for _ in range(count)]
    assert seen == kinds
    assert all(m is (service.backend if not kinds else modes[0]) for m in modes)
    service.close()  # a second time does no harm
