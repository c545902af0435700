"""Hardware backends: everything that executes programs, behind one protocol."""

if __name__ != "nisqkit.hardware_backends":
    raise ImportError(f"import nisqkit.hardware_backends, not {__name__}")

from nisqkit.hardware_backends.base import Backend as Backend
from nisqkit.hardware_backends.base import Result as Result
from nisqkit.hardware_backends.conformance import check_backend as check_backend
from nisqkit.hardware_backends.execute import Execution as Execution
from nisqkit.hardware_backends.execute import execute as execute
from nisqkit.hardware_backends.gradients import SPSA as SPSA
from nisqkit.hardware_backends.mitigate_function import mitigate as mitigate
from nisqkit.hardware_backends.registry import available_backends as available_backends
from nisqkit.hardware_backends.registry import get_backend as get_backend
