"""Search: spaces, objectives, budgets, studies and profiles.

This folder stands below all others and knows neither qubits nor layers; what can be searched or
measured comes to it through two small protocols (``__space__`` and ``__profile__``, see
``docs/architecture.md``). ``docs/search.md`` shows how to use it.
"""

if __name__ != "nisqkit.search":
    raise ImportError(f"import nisqkit.search, not {__name__}")

from nisqkit.search.base import Space as Space
from nisqkit.search.budget import Budget as Budget
from nisqkit.search.candidate import load_candidate as load_candidate
from nisqkit.search.candidate import save_candidate as save_candidate
from nisqkit.search.compare import compare as compare
from nisqkit.search.containers import Group as Group
from nisqkit.search.containers import Repeat as Repeat
from nisqkit.search.containers import When as When
from nisqkit.search.evaluated import Evaluated as Evaluated
from nisqkit.search.feasibility import Feasibility as Feasibility
from nisqkit.search.injection import Injection as Injection
from nisqkit.search.leaves import Choice as Choice
from nisqkit.search.leaves import Float as Float
from nisqkit.search.leaves import Int as Int
from nisqkit.search.leaves import Ordered as Ordered
from nisqkit.search.objective import Objective as Objective
from nisqkit.search.problem import Problem as Problem
from nisqkit.search.study import Study as Study
