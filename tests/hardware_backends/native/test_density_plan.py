"""Plans of noisy programs: what is shared, what is a sample's own, and what is kept."""

import numpy as np
from numpy.testing import assert_array_equal
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from nisqkit.circuits import Observables, lower
from nisqkit.hardware_backends.native.density_plan import density_plan, strength_plan
from nisqkit.hardware_backends.native.density_rows import KIND, OWN, PLACE, ROW, SOURCE, TRAINED
from nisqkit.hardware_backends.native.density_schedule import MOVE, ONE, TWO
from nisqkit.noise import Channel, NoiseModel, NoisyProgram


def example() -> NoisyProgram:
    """An input, a fixed run, CX and a weight on two qubits."""
    circuit = QuantumCircuit(3)
    circuit.rx(ParameterVector("x", 1)[0], 0)
    circuit.h(1)
    circuit.cx(0, 1)
    circuit.rzz(ParameterVector("w", 1)[0], 1, 2)
    flip = Channel.depolarizing(0.1, 2)
    model = NoiseModel("pairs", {("cx", ()): flip, ("rzz", ()): flip}, {"rx", "h", "measure"})
    return model.bind(lower(circuit, inputs="x"))


def test_operations() -> None:
    plan = density_plan(example(), Observables.parse(None, 3))
    table, weights_only = plan.operations
    assert table[:, KIND].tolist() == [ONE, ONE, MOVE, TWO]
    assert table[:, OWN].tolist() == [1, 0, 0, 0]
    assert table[:, TRAINED].tolist() == [1, 0, 0, 1]
    assert weights_only[:, TRAINED].tolist() == [0, 0, 0, 1]
    assert table[:, ROW].tolist() == [0, 0, 0, 12]
    assert table[[0, 3], PLACE].tolist() == [0, 0]
    assert table[3, SOURCE] == 1  # the next move's
    assert plan.num_rows == (12 + 240, 12)
    assert plan.num_places == 240


def test_rows_of_observables() -> None:
    plan = density_plan(example(), Observables.parse(["XYZ", "IIZ"], 3))
    rows, coefficients = plan.measured
    assert rows.tolist() == [3 + 4 * 2 + 16 * 1, 3]
    assert_array_equal(coefficients, np.eye(2))
    rows, coefficients = density_plan(example(), Observables(3, None)).measured
    assert rows.tolist() == [0, 3, 12, 15, 48, 51, 60, 63]
    assert coefficients.size == 0


def test_plans_are_kept() -> None:
    noisy, observables = example(), Observables.parse(None, 3)
    plan = density_plan(noisy, observables)
    assert density_plan(noisy, Observables.parse(None, 3)) is plan
    other = density_plan(noisy, Observables.parse("probs", 3))
    assert other is not plan
    assert other.schedule is plan.schedule
    strong = strength_plan(noisy, observables, {"cx 0-1": 0.5})
    assert strength_plan(noisy, observables, {"cx 0-1": 0.5}) is strong
    weak = strength_plan(noisy, observables, {"cx 0-1": 0.25})
    assert weak is not strong
    # one is kept: an integral over strengths takes many
    assert strength_plan(noisy, observables, {"cx 0-1": 0.5}) is not strong


def test_strengths_follow_the_weights() -> None:
    noisy = example()
    plan = strength_plan(noisy, Observables.parse(None, 3), {"cx 0-1": 0.5})
    assert plan.widths == (1, 1 + 2)
    assert plan.angle_map.weights[1:] == noisy.causes == ("cx 0-1", "rzz 1-2")
    ((place, weight, slopes),) = plan.move_slopes
    assert place == plan.places[plan.schedule.blocks[2]]
    assert weight == 1
    np.testing.assert_allclose(np.abs(slopes), -np.log(0.9) * np.sqrt(0.9))
    # all that has noise is trained now
    assert plan.operations[1][:, TRAINED].tolist() == [0, 0, 1, 1]
