"""Search: spaces, objectives, budgets, studies and profiles.

Reserved: nothing is implemented here yet. This folder stands below all others and knows neither
qubits nor layers; what can be searched or measured will come to it through two small protocols
(``__space__`` and ``__profile__``, see ``docs/architecture.md``).
"""

if __name__ != "nisqkit.search":
    raise ImportError(f"import nisqkit.search, not {__name__}")
