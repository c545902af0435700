"""Where studies are kept: Optuna's storages, opened from a URL or a path."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

SQLITE = (".db", ".sqlite", ".sqlite3")


def open_storage(storage: str | Path | BaseStorage | None) -> BaseStorage:
    """Open a storage.

    Args:
        storage: None keeps everything in memory. A path that ends in .db, .sqlite or .sqlite3 is a
            SQLite file, any other a journal (a file that many processes of one machine, or of
            several on NFS, may append to). A URL is that of a database, such as
            ``postgresql://user:password@host/database``.

    Raises:
        ConnectionError: it cannot be reached.
        ImportError: PostgreSQL without its driver.
    """
    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, BaseStorage):
        return storage
    text = str(storage)
    with storage_errors(text, "nothing was evaluated"):
        if "://" not in text:
            path = Path(text).absolute()
            if not path.parent.is_dir():
                raise FileNotFoundError(f"there is no folder {path.parent}")
            if path.suffix not in SQLITE:
                return JournalStorage(JournalFileBackend(str(path)))
            text = f"sqlite:///{path}"
        return _open_database(text)


def _open_database(url: str) -> BaseStorage:
    from sqlalchemy.exc import OperationalError

    options: dict[str, object] = {}
    scheme, rest = url.split("://", 1)
    if scheme in ("postgres", "postgresql"):
        url = f"postgresql+psycopg://{rest}"
        if find_spec("psycopg") is None:
            raise ImportError('PostgreSQL needs its driver: pip install "nisqkit[search]"')
        options["pool_pre_ping"] = True
    if scheme == "sqlite":
        options["connect_args"] = {"timeout": 60}  # workers wait for each other
    for attempt in range(5):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except Exception as error:
            # Workers that start together may all create the tables; then all but one fail, each
            # database in its own words. What cannot be reached is no matter of patience.
            lost = isinstance(error, OperationalError) and "already exists" not in str(error)
            if attempt == 4 or lost or isinstance(error, ImportError):
                raise
            time.sleep(random.uniform(0.05, 0.5))
    raise AssertionError


@contextmanager
def storage_errors(storage: object, consequence: str) -> Iterator[None]:
    """Turn what a storage raises when it is lost into a ConnectionError that says what is lost."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError) as error:
        cause = error.__cause__ or error
        raise ConnectionError(
            f"the storage {name_of(storage)} cannot be reached; {consequence}. It said: {cause}"
        ) from error


def name_of(storage: object) -> str:
    """A storage in words, without its password."""
    if isinstance(storage, RDBStorage):
        storage = storage.url
    if not isinstance(storage, str):
        return type(storage).__name__
    if "://" not in storage:
        return storage
    from sqlalchemy.engine import make_url

    return make_url(storage).render_as_string(hide_password=True)
