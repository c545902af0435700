"""The command line: ``nisqkit train``, ``evaluate``, ``predict``, ``demo`` and small listings."""

if __name__ != "nisqkit.cli":
    raise ImportError(f"import nisqkit.cli, not {__name__}")
