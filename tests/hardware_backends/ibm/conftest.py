import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for stand_in

from stand_in import StandIn, stand_in_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StandIn]:
    """A service in a process of its own, with its log in ``tmp_path / "log"``."""
    with stand_in_service(tmp_path, list_delay=0.1) as found:
        yield found
