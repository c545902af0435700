"""Error mitigation: methods that yield tasks, receive their results and return better values.

Reserved: nothing is implemented here yet. This is the only folder that may import Mitiq (GPL v3,
the extra ``nisqkit[mitigation]``), and nothing in it ever runs a circuit by itself.
"""

if __name__ != "nisqkit.noise.mitigation":
    raise ImportError(f"import nisqkit.noise.mitigation, not {__name__}")
