"""One worker of a study, as a process: ``worker_script.py STORAGE NAME EVALUATIONS [PAUSE]``.

Prints what it evaluated itself, and the study's candidates and front, as JSON. PAUSE makes every
evaluation take that many seconds, so that there is time to kill the process.
"""

import json
import sys
import time
from typing import Any

from nisqkit.search import (
    Budget,
    Choice,
    Float,
    Group,
    Int,
    Objective,
    Problem,
    Repeat,
    Study,
    When,
)

SPACE = Group(
    {
        "kind": Choice(["a", "b"]),
        "rate": When("kind", equals="b", space=Float(0.01, 1, log=True)),
        "blocks": Repeat(Int(1, 4), Group({"width": Int(1, 5)})),
    }
)
evaluated: list[str] = []


def width(value: Any) -> int:
    return sum(block["width"] for block in value["blocks"])


def problem(pause: float = 0.0) -> Problem:
    def evaluate(values: list[Any]) -> list[dict[str, float]]:
        evaluated.extend(SPACE.key(value) for value in values)
        print(f"evaluating {len(values)}", file=sys.stderr, flush=True)
        time.sleep(pause)
        return [
            {"loss": (value.get("rate", 2.0) - 0.3) ** 2 + 1 / width(value)} for value in values
        ]

    return Problem(
        SPACE,
        [Objective("loss"), Objective("width", cost="static")],
        measure=lambda value: {"width": width(value)},
        evaluate=evaluate,
        budgets=[Budget("width", max=14)],
    )


def summary(study: Study) -> dict[str, Any]:
    rows = [[c.number, c.generation, c.value, c.metrics] for c in study.evaluated]
    return {"evaluated": rows, "front": [[c.number, *c.losses] for c in study.front]}


def main(storage: str, name: str, evaluations: str, pause: str = "0", batch: str = "0") -> None:
    study = Study.open(
        problem(float(pause)),
        None if storage == "memory" else storage,
        name,
        sampler="nsga2",
        population=12,
        seed=3,
    )
    study.run(int(evaluations), batch=int(batch) or None, patience=30)
    print(json.dumps(summary(study) | {"mine": evaluated}))


if __name__ == "__main__":
    main(*sys.argv[1:])
