"""Error mitigation for users who have a function instead of a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from qiskit import QuantumCircuit

from nisqkit.circuits.lower import lower
from nisqkit.circuits.observables import Observables
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.slot_circuit import slot_angles, slot_circuit
from nisqkit.noise.mitigation.base import Mitigator

Executor = Callable[[list[QuantumCircuit]], Sequence[float]]
"""Takes bound circuits, and returns the expectation value of each."""


def mitigate(
    executor: Executor, mitigation: Mitigator | Sequence[Mitigator]
) -> Callable[[QuantumCircuit], float]:
    """The mitigated form of a function that returns expectation values of circuits.

    All circuits of a round come in one call. The function must run them as they are: a transpiler
    that optimises would cancel what folding has added (``optimization_level=0``, on circuits that
    are the device's own already).

    Args:
        executor: From a list of circuits to a value for each, of whatever it measures.
        mitigation: `ZNE` by folding, `PauliTwirling`; those that need to know the noise or what is
            measured are for layers.

    Returns:
        A function from one circuit to its mitigated value.

    Raises:
        ValueError: When it is called: a circuit with free parameters or with measurements before
            other gates, another number of values than circuits, or a mitigator that needs more than
            circuits.

    Example:
        >>> from qiskit.quantum_info import Statevector
        >>> from nisqkit.noise.mitigation import ZNE
        >>> from qiskit.quantum_info import Pauli
        >>> def noisy(circuits):  # every gate takes 1 % of <Z>
        ...     exact = [Statevector(c).expectation_value(Pauli("Z")).real for c in circuits]
        ...     return [float(0.99 ** c.size() * z) for c, z in zip(circuits, exact)]
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(0.3, 0)
        >>> noisy([circuit])[0], mitigate(noisy, ZNE((1, 3, 5)))(circuit)  # the true one is 0.9553
        (0.9457..., 0.9553...)
    """
    execution = Execution(_Function(executor), mitigation=mitigation)

    def mitigated(circuit: QuantumCircuit) -> float:
        if circuit.num_parameters:
            names = ", ".join(sorted(p.name for p in circuit.parameters)[:3])
            raise ValueError(
                f"the circuit has free parameters ({names}): bind them first, or make a "
                "QuantumLayer of it, which takes them as inputs and weights"
            )
        none = torch.zeros(1, 0, dtype=torch.float64)
        observables = Observables.parse("Z" * circuit.num_qubits, circuit.num_qubits)
        with torch.no_grad():
            task = Task(lower(circuit), none, none[0], observables)
            return float(execute([task], execution)[0].values)

    return mitigated


class _Function(Backend):
    """A function as a backend; it measures what it measures."""

    name = "function"

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """See `Backend.run`."""
        circuits = []
        for task in tasks:
            circuit, slots = slot_circuit(task.program)
            (angles,) = slot_angles(task.program, task.inputs, task.weights).tolist()
            used = circuit.parameters
            bound = {s: a for s, a in zip(slots, angles, strict=True) if s in used}
            circuits.append(circuit.assign_parameters(bound))
        values = list(self.executor(circuits))
        if len(values) != len(circuits):
            raise ValueError(
                f"the function returned {len(values)} values for {len(circuits)} circuits: it must "
                "return one for each"
            )
        return [Result(torch.tensor([[float(v)]], dtype=torch.float64)) for v in values]
