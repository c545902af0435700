"""Hardware backends: everything that executes programs, behind one protocol."""

if __name__ != "nisqkit.hardware_backends":
    raise ImportError(f"import nisqkit.hardware_backends, not {__name__}")

from nisqkit.hardware_backends.base import Backend as Backend
from nisqkit.hardware_backends.base import Result as Result
