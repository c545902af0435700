"""Results on disk: one folder per date, one ``results.json`` that grows with every command."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from machine import machine

RESULTS = Path(__file__).parent / "results"


class Store:
    """``results.json`` of one folder.

    Sections: ``machine``; ``steps`` and ``steps-avx2`` by workload; ``scaling`` by series and size;
    ``cold`` by workload; ``memory`` by series, size and peer; ``roofline`` by instruction set.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or RESULTS / f"{dt.date.today():%Y-%m-%d}"
        self.path = self.folder / "results.json"
        self.data: dict[str, Any] = {}
        if self.path.exists():
            self.data = json.loads(self.path.read_text())

    def put(self, value: Any, *keys: str) -> None:
        """Set an entry and write the file."""
        place = self.data
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value
        self.data["machine"] = machine()
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.data, indent=1, sort_keys=True) + "\n"
        waiting = self.path.with_suffix(".tmp")
        waiting.write_text(text)
        waiting.replace(self.path)

    def merge_run(self, run: dict[str, Any], *keys: str) -> None:
        """Set a comparison, but keep the peers of earlier ones that are not part of it.

        A peer keeps the ratio to nisqkit of the run in which both were timed in turns; its
        ``date`` is the key of that run in ``runs``.
        """
        before = self.get(*keys)
        peers = {**before.get("peers", {}), **run["peers"]}
        dates = {r["date"] for r in peers.values()}
        runs = {**before.get("runs", {}), **run["runs"]}
        runs = {date: about for date, about in runs.items() if date in dates}
        self.put({**run, "peers": peers, "runs": runs}, *keys)

    def get(self, *keys: str) -> Any:
        """An entry, or an empty dict."""
        place: Any = self.data
        for key in keys:
            place = place.get(key, {})
        return place
