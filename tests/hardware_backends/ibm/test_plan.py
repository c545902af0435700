import pytest
import torch

from nisqkit.circuits import angle, hardware_efficient
from nisqkit.hardware_backends.ibm import IBMBackend
from nisqkit.hardware_backends.ibm_price import qpu_seconds
from nisqkit.noise import Device
from nisqkit.noise.mitigation import ZNE, PauliTwirling, ReadoutMitigation
from nisqkit.qml import QuantumLayer

CIRCUIT = angle(2).compose(hardware_efficient(2, layers=1))


@pytest.fixture(scope="module")
def layer() -> QuantumLayer:
    return QuantumLayer(CIRCUIT, inputs="x", backend="ibm:fake_fez", shots=1000, seed=0)


def test_a_plan_sends_nothing_and_changes_nothing(layer: QuantumLayer) -> None:
    calls = int(layer.calls)
    stack = [ReadoutMitigation(source="calibration")]
    moved = layer.with_backend("ibm:fake_fez", shots=100, mitigation=stack)
    moved.plan(3)
    assert int(layer.calls) == calls and layer.weights.grad is None
    # calibrated readout errors of a plan would be made up ones
    assert not stack[0]._kept


def test_the_price_by_hand(layer: QuantumLayer) -> None:
    """IBM's formula: 2 s + (rep_delay + circuit) * executions, circuit with reset and readout."""
    plan = layer.plan(4, train=False)
    assert (plan.jobs, plan.pubs, plan.circuits, plan.executions) == (1, 1, 4, 4000)
    backend = layer.backend
    assert isinstance(backend, IBMBackend)
    device = backend.device
    a, b = plan.circuit.layout
    (sx, _), (cz, _) = (device.gate("sx", (a,)), 0), (device.gate("cz", (a, b)), 0)
    assert sx is not None and sx.duration and cz is not None and cz.duration
    reads = [device.readout_duration[q] or 0 for q in (a, b)]
    resets = [g.duration or 0 for q in (a, b) if (g := device.gate("reset", (q,))) is not None]
    # the critical path has at most all 6 sx and the cz, and at least the cz and two sx
    low = 2 + 4000 * (250e-6 + max(reads) + cz.duration + 2 * sx.duration)
    high = 2 + 4000 * (250e-6 + max(reads) + max(resets, default=0) + cz.duration + 6 * sx.duration)
    assert low <= plan.qpu_seconds <= high
    assert plan.price_usd["pay-as-you-go"] == pytest.approx(plan.qpu_seconds * 1.6)
    # and it is close to IBM's quick estimate, 2 s + 0.00035 s per execution
    assert plan.qpu_seconds == pytest.approx(qpu_seconds(4000), rel=0.4)


def test_gradients_of_inputs_and_more_steps(layer: QuantumLayer) -> None:
    plan = layer.plan(4, inputs=True, steps=100)
    # per sample: itself, 4 weights and 2 inputs, two shifts each
    assert (plan.jobs, plan.circuits) == (100, 100 * 4 * 13)
    assert plan.first_step[:3] == (1, 1, 4 * 13 * 1000)
    assert not plan.fits_open_plan and plan.open_plan_seconds == 600
    assert layer.plan(1).fits_open_plan


def test_calibration_circuits_are_counted_once(layer: QuantumLayer) -> None:
    stack = [ReadoutMitigation(source="calibration")]
    moved = layer.with_backend("ibm:fake_fez", shots=1000, mitigation=stack)
    one, two = moved.plan(4, train=False), moved.plan(4, train=False, steps=2)
    # all qubits prepared in 0 and in 1, once; then 4 samples per step
    assert one.circuits == 2 + 4 and two.circuits == 2 + 2 * 4
    assert one.jobs == 2 and two.jobs == 3  # the calibration is a round of its own


def test_mitigation_scales_share_a_job(layer: QuantumLayer) -> None:
    stack = [PauliTwirling(4), ReadoutMitigation(), ZNE()]
    plan = layer.with_backend("ibm:fake_fez", shots=100, mitigation=stack).plan(2, train=False)
    assert plan.jobs == 1 and plan.circuits == 2 * 4 * 3


def test_ibms_mitigation_is_counted() -> None:
    from nisqkit.circuits import Observables, Task, lower

    program = lower(CIRCUIT, inputs="x")
    observables = Observables.parse(["ZZ", "XX"], 2)  # two bases
    task = Task(program, torch.zeros(3, 2), torch.zeros(4), observables, 1000)
    options = {"resilience_level": 0, "resilience": {"zne_mitigation": True}}
    backend = IBMBackend("fake_manila", options=options)
    (job,), _ = backend.jobs([task])
    assert backend.cost(job).circuits == 3 * 2 * 3  # samples, bases, noise factors
    more = IBMBackend("fake_manila", options={"resilience_level": 1})
    (job,), _ = more.jobs([task])
    assert more.cost(job).executions == 3 * 2 * 1000 + 1000  # learning readout errors


def test_what_it_says(layer: QuantumLayer) -> None:
    text = str(layer.plan(4))
    device = Device.load("fake_fez")
    assert device.date is not None
    for part in (
        f"plan for ibm:fake_fez, calibrated {device.date:%Y-%m-%d}",
        "fits into its 600 s in 28 days",
        "expected success 9",
        "equal to the logical circuit",
        "nothing is sent, and nothing is billed",
    ):
        assert part in text
    session = QuantumLayer(
        CIRCUIT, inputs="x", backend=IBMBackend("fake_fez", mode="session"), shots=10
    )
    assert "the Open Plan has no sessions" in str(session.plan(1))


def test_the_best_qubits_are_taken(layer: QuantumLayer) -> None:
    """The expected success is above that of nine in ten pairs of neighbours."""
    from nisqkit.circuits import lower
    from nisqkit.hardware_backends.device_report import device_report

    device = Device.load("fake_fez")
    program = lower(CIRCUIT, inputs="x")
    pairs = sorted({tuple(sorted(e)) for e in device.coupling if e not in device.dead_edges})
    tried = pairs[::8]
    success = [device_report(program, device, layout=pair).success for pair in tried]
    chosen = layer.plan(1).circuit.success
    assert chosen is not None
    assert sum(chosen > s for s in success) >= 0.9 * len(success)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (0, {}, "a batch of 0 samples: give at least 1"),
        (1, {"steps": 0}, "steps=0 must be at least 1"),
    ],
)
def test_bad_numbers(layer: QuantumLayer, x: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer.plan(x, **options)


def test_other_backends_have_no_plan() -> None:
    with pytest.raises(ValueError, match=r"this layer is on 'native': use layer.with_backend"):
        QuantumLayer(CIRCUIT, inputs="x").plan(1)
