"""IBM Quantum: grouped jobs, their plan and price, and a ledger so that none is paid twice."""

if __name__ != "nisqkit.hardware_backends.ibm":
    raise ImportError(f"import nisqkit.hardware_backends.ibm, not {__name__}")

from nisqkit.hardware_backends.ibm.backend import IBMBackend as IBMBackend
from nisqkit.hardware_backends.ibm.ledger import Ledger as Ledger
from nisqkit.hardware_backends.ibm.plan import Plan as Plan
