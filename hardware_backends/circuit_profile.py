"""Profiles of circuits: size, errors and time on a device, executions, and their price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction

from nisqkit.circuits.amplitude import synthesise
from nisqkit.circuits.lower import InputsLike, lower
from nisqkit.circuits.observables import ObservableLike, Observables
from nisqkit.circuits.program import Program
from nisqkit.hardware_backends.device_report import DeviceReport, device_report
from nisqkit.hardware_backends.gradients import SPSA, differentiable_slots, shifted_copies
from nisqkit.hardware_backends.ibm_price import ibm_prices, price_usd, qpu_seconds
from nisqkit.hardware_backends.sampling import measurement_bases
from nisqkit.hardware_backends.slot_circuit import slot_circuit
from nisqkit.hardware_backends.transpile import Transpiled
from nisqkit.noise.device import Device
from nisqkit.noise.mitigation.base import Mitigator, stack_cost
from nisqkit.search.metric import Metric
from nisqkit.search.profile import Profile

SHOTS = 4096
"""Where none are given: the default of Qiskit's sampler."""


@dataclass(frozen=True)
class Executions:
    """How often circuits run for one sample, each with one setting of its angles and one basis.

    Attributes:
        forward: For the values.
        parameter_shift: For the values and the gradient, by shifted copies.
        spsa: The same, by simultaneous perturbation.
        adjoint: The same on a simulator, which differentiates the one run.
    """

    forward: int
    parameter_shift: int
    spsa: int
    adjoint: int


def executions(
    program: Program,
    observables: Observables,
    *,
    weights: bool = True,
    inputs: bool = False,
    transpiled: Transpiled | None = None,
    spsa_samples: int = 1,
) -> Executions:
    """Count the executions of one sample.

    Args:
        program: The circuit.
        observables: What is measured; each measurement basis is a circuit of its own.
        weights: Whether the weights are trained.
        inputs: Whether something upstream of the inputs is trained: an encoder before the circuit
            needs the gradient of every input, and so two more copies or more per encoding gate.
        transpiled: The circuit on the device it trains on, whose gates decide about the shifts.
        spsa_samples: See `SPSA`.

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> program = lower(angle(4).compose(hardware_efficient(4, layers=3)), inputs="x")
        >>> z = Observables.parse(None, 4)
        >>> executions(program, z).parameter_shift, executions(program, z, inputs=True)
        (49, Executions(forward=1, parameter_shift=57, spsa=3, adjoint=1))
    """
    slots = differentiable_slots(program, inputs, weights)
    frequencies = None
    if transpiled is not None:  # as `parameter_shift` does it
        amplitudes = () if program.prepare is None else program.prepare.slots
        num_slots = program.angle_map.num_slots
        program, _ = synthesise(program)
        if not set(slots).isdisjoint(amplitudes):
            slots += range(num_slots, program.angle_map.num_slots)
        frequencies = transpiled.frequencies
    # of no samples: the copies are counted, and take no memory
    none = torch.zeros(0, program.angle_map.num_slots)
    copies = len(shifted_copies(program, none, slots, frequencies).slots)
    bases = len(measurement_bases(observables))
    moved = 2 * spsa_samples if slots else 0
    return Executions(bases, bases * (1 + copies), bases * (1 + moved), bases)


def profile_circuit(
    circuit: QuantumCircuit | Program,
    device: Device | None = None,
    layout: Sequence[int] | None = None,
    *,
    inputs: InputsLike = None,
    observables: Sequence[ObservableLike] | ObservableLike | Observables | None = None,
    batch: int = 1,
    shots: int | None = None,
    train_weights: bool = True,
    train_inputs: bool = False,
    mitigation: Mitigator | Sequence[Mitigator] = (),
    spsa_samples: int = 1,
    steps_per_epoch: int | None = None,
    plan: str = "pay-as-you-go",
    rep_delay: float | None = None,
    optimization_level: int = 2,
    seed: int = 0,
    double: bool = False,
    name: str = "circuit",
) -> Profile:
    """Profile a circuit, on a device or as it was written.

    - ``qubits``, ``depth``, ``two_qubit_depth``, ``one_qubit_gates``, ``two_qubit_gates`` and
      ``gates.<name>``: with a device of the transpiled circuit; ``logical.`` before these names
      gives them before transpiling, and ``physical_qubits`` counts the device's qubits in use.
    - ``duration_seconds`` of one execution, gates and readout, and ``success_probability``, the
      product of ``1 - error`` over gates and readouts (optimistic: see `DeviceReport.success`).
    - ``executions_per_forward`` and ``executions_per_step.<method>`` for the whole batch: circuits
      that are run, each basis and each sample one. With a trained encoder upstream
      (``train_inputs``) a step differentiates the inputs too.
    - ``qpu_seconds_per_forward``, ``qpu_seconds_per_step.<method>``, ``price_usd_per_...``: one job
      with all of these circuits and ``shots`` of each, by IBM's formula (`qpu_seconds`). With
      ``steps_per_epoch`` the same ``_per_epoch.<method>``.
    - ``simulation_bytes`` and ``simulation_seconds_per_step``: states and one training step without
      noise on one core, by the native engine's model of its cost.

    Args:
        circuit: A Qiskit circuit or a program.
        device: The device to transpile for.
        layout: As in `transpile_to`.
        inputs: Which parameters of a Qiskit circuit are inputs, as in `lower`.
        observables: What is measured, as in `QuantumLayer`; default Z on each qubit.
        batch: Samples per pass.
        shots: Per circuit; default 4096.
        train_weights: Whether the weights are trained.
        train_inputs: Whether something upstream of the inputs is.
        mitigation: What multiplies circuits and shots.
        spsa_samples: See `SPSA`.
        steps_per_epoch: Training steps per epoch.
        plan: Of IBM's price list.
        rep_delay: See `qpu_seconds`.
        optimization_level: As in `transpile_to`.
        seed: As in `transpile_to`.
        double: Whether a simulation is in float64.
        name: Of the node.

    Raises:
        ValueError: A layout without a device, numbers below 1, an unknown plan, or what `lower` and
            `transpile_to` refuse.
        TypeError: Neither a circuit nor a program.

    Example:
        >>> from nisqkit.circuits import angle, hardware_efficient
        >>> circuit = angle(4).compose(hardware_efficient(4, layers=3))
        >>> found = profile_circuit(circuit, inputs="x", batch=64, shots=1000, train_inputs=True)
        >>> found.total("executions_per_step.parameter_shift").value  # 57 circuits per sample
        3648
        >>> round(found.total("price_usd_per_step.parameter_shift").value)
        2046
    """
    if not isinstance(circuit, (QuantumCircuit, Program)):
        raise TypeError(
            f"profile_circuit takes a QuantumCircuit or a Program, not {type(circuit).__name__}; "
            "for models and layers there is nisqkit.search.profile"
        )
    if isinstance(circuit, Program) and inputs is not None:
        raise ValueError("a Program knows its inputs: leave inputs out")
    if layout is not None and device is None:
        raise ValueError("layout says where on a device: give device, too")
    for key, number in (("batch", batch), ("shots", shots), ("steps_per_epoch", steps_per_epoch)):
        if number is not None and number < 1:
            raise ValueError(f"{key} is {number}: give 1 or more")
    price_usd(0, plan)
    SPSA(spsa_samples)
    program = lower(circuit, inputs) if isinstance(circuit, QuantumCircuit) else circuit
    if not isinstance(observables, Observables):
        observables = Observables.parse(observables, program.num_qubits)
    notes: list[str] = []
    report, circuit_seconds = None, None
    metrics = _size(slot_circuit(program)[0])
    if device is not None:
        report = device_report(
            program, device, layout=layout, optimization_level=optimization_level, seed=seed
        )
        logical = {f"logical.{key}": metric for key, metric in metrics.items()}
        metrics = _size(report.transpiled.circuit) | {
            "qubits": logical.pop("logical.qubits"),
            "physical_qubits": Metric(len(report.transpiled.active), aggregate="max"),
        }
        metrics |= logical | _on_device(report, notes)
        level = f"optimization_level {optimization_level}, seed {seed}"
        places = ", ".join(map(str, report.transpiled.initial_layout))
        notes.append(f"transpiled for {device.name} ({level}) on qubits {places}")
        if "duration_seconds" in metrics:
            circuit_seconds = metrics["duration_seconds"].value + _reset(report)
    found = executions(
        program,
        observables,
        weights=train_weights,
        inputs=train_inputs,
        transpiled=None if report is None else report.transpiled,
        spsa_samples=spsa_samples,
    )
    stack = [mitigation] if isinstance(mitigation, Mitigator) else list(mitigation)
    counted = _counted(found, batch, stack, notes)
    metrics |= counted
    if shots is None:
        notes.append(f"QPU seconds are for {SHOTS} shots per circuit")
    job = shots or SHOTS, circuit_seconds, rep_delay
    metrics |= _billed(counted, job, plan, steps_per_epoch)
    metrics |= _simulated(program, observables, batch, 8 if double else 4)
    return Profile(name, "quantum", metrics, (), tuple(notes), "circuit")


def _size(circuit: QuantumCircuit) -> dict[str, Metric]:
    gates = [use for use in circuit.data if not use.is_directive()]
    counts = Counter(use.name for use in gates)
    widths = Counter(len(use.qubits) for use in gates)

    def of_two(use: CircuitInstruction) -> bool:
        return len(use.qubits) == 2 and not use.is_directive()

    found = {
        "qubits": Metric(circuit.num_qubits, aggregate="max"),
        "depth": Metric(circuit.depth(), aggregate="max"),
        "two_qubit_depth": Metric(circuit.depth(of_two), aggregate="max"),
        "one_qubit_gates": Metric(widths[1]),
        "two_qubit_gates": Metric(widths[2]),
    }
    return found | {f"gates.{name}": Metric(n) for name, n in sorted(counts.items())}


def _on_device(report: DeviceReport, notes: list[str]) -> dict[str, Metric]:
    device = report.transpiled.device
    date = None if device.date is None else device.date.date().isoformat()
    found = {"virtual_gates": Metric(report.coverage.num_virtual)}
    if report.duration is None or report.readout_duration is None:
        notes.append(f"duration_seconds is not known: {device.name} lacks some durations")
    else:
        seconds = report.duration + report.readout_duration
        found["duration_seconds"] = Metric(seconds, "s", "sum", "calibrated", date=date)
    if missing := sorted({use.gate for use in report.coverage.uncovered}):
        what = ", ".join(missing)
        notes.append(f"success_probability is not known: {device.name} lacks errors of {what}")
    else:
        found["success_probability"] = Metric(
            report.success, "", "product", "calibrated", date=date
        )
    return found


def _reset(report: DeviceReport) -> float:
    """Seconds of the reset before each execution, 0 where the device does not report it."""
    found = [report.transpiled.device.gate("reset", (q,)) for q in report.transpiled.layout]
    return max((gate.duration or 0.0 for gate in found if gate is not None), default=0.0)


def _counted(
    found: Executions, batch: int, stack: Sequence[Mitigator], notes: list[str]
) -> dict[str, Metric]:
    times = stack_cost(stack).circuits
    if stack:
        notes.append(f"executions are {times:g} times those without mitigation")

    def metric(count: int) -> Metric:
        value = count * batch * times
        exact = int(value) if float(value).is_integer() else value
        return Metric(exact, source="estimated" if stack else "exact")

    return {
        "executions_per_forward": metric(found.forward),
        "executions_per_step.parameter_shift": metric(found.parameter_shift),
        "executions_per_step.spsa": metric(found.spsa),
        "executions_per_step.adjoint": metric(found.adjoint),
    }


def _billed(
    counted: Mapping[str, Metric],
    job: tuple[int, float | None, float | None],
    plan: str,
    steps: int | None,
) -> dict[str, Metric]:
    """QPU seconds and prices; ``job`` is shots, the circuit's seconds and the delay."""
    shots, circuit_seconds, rep_delay = job
    date = ibm_prices().date
    seconds, prices = {}, {}
    for name, metric in counted.items():
        what = name.removeprefix("executions_")
        if what.endswith("adjoint"):  # no machine does that
            continue
        value = qpu_seconds(metric.value * shots, circuit_seconds, rep_delay=rep_delay)
        times = {what: 1}
        if steps is not None and "per_step" in what:
            times[what.replace("per_step", "per_epoch")] = steps
        for key, count in times.items():
            seconds[f"qpu_seconds_{key}"] = Metric(value * count, "s", source="estimated")
            usd = price_usd(value * count, plan)
            prices[f"price_usd_{key}"] = Metric(usd, "USD", source="estimated", date=date)
    return seconds | prices


def _simulated(
    program: Program, observables: Observables, batch: int, itemsize: int
) -> dict[str, Metric]:
    from nisqkit.hardware_backends.native.cost import cost
    from nisqkit.hardware_backends.native.plan import best_route
    from nisqkit.hardware_backends.native.plan import plan as make_plan

    made = make_plan(program, observables, best_route(program, batch, itemsize))
    found = cost(made.schedule, made.operations, batch, itemsize)
    return {
        "simulation_bytes": Metric(found.state_bytes, "B", "max", "analytic"),
        "simulation_seconds_per_step": Metric(found.seconds, "s", source="estimated"),
    }
