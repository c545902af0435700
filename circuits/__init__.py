"""Circuits: from a `qiskit.QuantumCircuit` to an immutable `Program` that engines run."""

if __name__ != "nisqkit.circuits":
    raise ImportError(f"import nisqkit.circuits, not {__name__}")

from nisqkit.circuits.amplitude import AmplitudeInput as AmplitudeInput
from nisqkit.circuits.ansatze import hardware_efficient as hardware_efficient
from nisqkit.circuits.ansatze import mirrored as mirrored
from nisqkit.circuits.ansatze import strongly_entangling as strongly_entangling
from nisqkit.circuits.ansatze import u3_cu3 as u3_cu3
from nisqkit.circuits.encoders import amplitude as amplitude
from nisqkit.circuits.encoders import angle as angle
from nisqkit.circuits.encoders import encoder as encoder
from nisqkit.circuits.encoders import zz_feature_map as zz_feature_map
from nisqkit.circuits.lower import lower as lower
from nisqkit.circuits.observables import Observables as Observables
from nisqkit.circuits.pennylane_io import from_pennylane as from_pennylane
from nisqkit.circuits.pennylane_io import to_pennylane as to_pennylane
from nisqkit.circuits.program import GateUse as GateUse
from nisqkit.circuits.program import Program as Program
from nisqkit.circuits.qasm import from_qasm3 as from_qasm3
from nisqkit.circuits.qasm import to_qasm3 as to_qasm3
from nisqkit.circuits.task import Task as Task
from nisqkit.circuits.to_qiskit import circuit_of as circuit_of
