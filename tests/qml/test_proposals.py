"""Every proposal's gain against the change made by hand, through what users call."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nisqkit.circuits import angle, u3_cu3
from nisqkit.hardware_backends.bound import Binder
from nisqkit.hardware_backends.native.noisy import NoisyBackend
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.qml import QuantumLayer, classifier
from nisqkit.qml.models import GroupSum, with_backend
from nisqkit.qml.proposals import Proposal, connected_sets, other_layouts, propose


def samples(num_inputs: int, num_classes: int, batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.rand(batch, num_inputs, generator=generator, dtype=torch.float64) - 1
    return x, torch.randint(num_classes, (batch,), generator=generator)


def measured(layer: QuantumLayer, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Loss and accuracy of a classifier with this layer."""
    model = nn.Sequential(layer, GroupSum(4, 2)).double()
    with torch.no_grad():
        outputs = model(x)
    return float(cross_entropy(outputs, y)), float((outputs.argmax(1) == y).double().mean())


@pytest.mark.parametrize("device", ["fake_belem", "fake_guadalupe"])
def test_gains_are_those_of_the_change_when_it_is_made(device: str) -> None:
    noise = Device.load(device)
    x, y = samples(4, 2, 60)
    model = classifier(4, 2, depth=1, seed=4)
    layer = model[0]
    assert isinstance(layer, QuantumLayer)
    found = propose(model, x, y, noise=noise)
    before = measured(layer.with_backend("native", noise=noise), x, y)
    kinds = set()
    for proposal in found:
        if proposal.layout is not None:
            kinds.add("layout")
            backend = NoisyBackend(noise, layout=proposal.layout)
            changed = layer.with_backend(backend)
            assert changed.transpiled.initial_layout == proposal.layout
            assert proposal.what == f"layout {'-'.join(map(str, proposal.layout))}"
        elif proposal.mask is not None:
            kinds.add("gate")
            program = layer.program.select(proposal.mask)
            assert program.num_gates < layer.program.num_gates
            changed = QuantumLayer(program, noise=noise, init=layer.weights.detach())
        else:
            kinds.add("readout")
            full = NoiseModel.from_device(noise)
            perfect = NoiseModel("", full.gates, {*full.ideal, "measure"}, device=noise)
            changed = layer.with_backend("native", noise=perfect)
        after = measured(changed, x, y)
        assert (proposal.loss, proposal.accuracy) == pytest.approx(after, abs=1e-9)
        assert proposal.loss_change == pytest.approx(after[0] - before[0], abs=1e-9)
        assert proposal.accuracy_gain == pytest.approx(after[1] - before[1], abs=1e-12)
    assert kinds == {"layout", "gate", "readout"}
    gains = [(p.accuracy_gain or 0.0, -p.loss_change) for p in found]
    assert gains == sorted(gains, reverse=True)


def test_the_gates_to_drop_are_those_least_missed() -> None:
    x, y = samples(4, 2, 30)
    model = classifier(4, 2, depth=2, seed=0)
    layer = model[0]
    assert isinstance(layer, QuantumLayer)
    found = propose(model, x, y, noise=Device.load("fake_belem"))
    missed = {}
    groups = {use.group for use in layer.program.gates if use.name == "cu3"}
    for group in groups:
        mask = tuple(k != group for k in range(layer.program.num_groups))
        without = QuantumLayer(layer.program.select(mask), init=layer.weights.detach())
        missed[mask] = measured(without, x, y)[0]
    least = sorted(missed, key=lambda mask: missed[mask])[:4]
    assert {p.mask for p in found if p.mask is not None} == set(least)


def test_one_qubit_gates_fill_up() -> None:
    layer = QuantumLayer(angle(2).compose(u3_cu3(2, 1)), inputs="x", seed=0)
    found = propose(layer, *samples(2, 2, 5), noise=Device.load("fake_santiago"))
    dropped = [p.what for p in found if p.mask is not None]
    assert sorted(dropped) == [
        "without cu3 on logical qubits 0, 1 (instruction 4)",
        "without u3 on logical qubit 0 (instruction 2)",
        "without u3 on logical qubit 1 (instruction 3)",
    ]


def test_models_without_a_device_have_no_layouts() -> None:
    model = NoiseModel(
        "by hand", {("cu3", ()): Channel.depolarizing(0.1, 2)}, ideal={"ry", "u3", "measure"}
    )
    layer = QuantumLayer(angle(2).compose(u3_cu3(2, 1)), inputs="x", init="uniform", seed=0)
    x, _ = samples(2, 2, 5)
    found = propose(layer, x, torch.zeros(5, 2), noise=model)
    assert all(p.layout is None and p.mask is not None for p in found)
    assert all(p.accuracy is None for p in found)
    assert [p.loss for p in found] == sorted(p.loss for p in found)


def test_several_layers() -> None:
    """Each proposal changes the layer that it names, and no other."""
    noise = Device.load("fake_belem")
    layers = [QuantumLayer(angle(2).compose(u3_cu3(2, 1)), inputs="x", seed=k) for k in (1, 2)]
    model = nn.Sequential(*layers)
    x, y = samples(2, 2, 5)
    found = [p for p in propose(model, x, y, noise=noise) if p.layout is not None]
    assert {p.layer for p in found} == {"0", "1"}
    for proposal in found:
        assert proposal.what.startswith(f"{proposal.layer}: layout ")
        changed = with_backend(model, "native", noise=noise).double()
        k = int(proposal.layer)
        assert isinstance(changed, nn.Sequential)
        backend = NoisyBackend(noise, layout=proposal.layout)
        changed[k] = layers[k].with_backend(backend).double()
        with torch.no_grad():
            expected = float(cross_entropy(changed(x), y))
        assert proposal.loss == pytest.approx(expected, abs=1e-9)


def test_connected_sets_are_all_there_are_on_small_devices() -> None:
    for name, size in (("fake_belem", 3), ("fake_yorktown", 4), ("fake_jakarta", 4)):
        device = Device.load(name)
        pairs = {frozenset(pair) for pair in device.coupling}

        def connected(qubits: tuple[int, ...], pairs: set[frozenset[int]] = pairs) -> bool:
            reached = {qubits[0]}
            for _ in qubits:
                reached |= {q for q in qubits if any(frozenset((q, r)) in pairs for r in reached)}
            return reached == set(qubits)

        every = itertools.combinations(range(device.num_qubits), size)
        assert set(connected_sets(device, size)) == set(filter(connected, every))


def test_dead_edges_and_unread_qubits_are_left_out() -> None:
    device = Device.load("fake_santiago")  # a line
    gates = tuple(g._replace(error=1.0) if set(g.qubits) == {1, 2} else g for g in device.gates)
    broken = Device(
        "broken", gates, device.t1, device.t2, (*device.readout[:4], None), date=device.date
    )
    assert set(connected_sets(broken, 2)) == {(0, 1), (2, 3)}


def test_the_expected_layouts_are_others() -> None:
    binder = Binder.make(Device.load("fake_jakarta"))
    program = QuantumLayer(angle(3).compose(u3_cu3(3, 1)), inputs="x", seed=0).program
    transpiled = binder.transpile(program)
    assert transpiled is not None
    found = other_layouts(binder, program)
    assert len(set(found)) == len(found) > 3
    assert transpiled.initial_layout not in found


def test_text() -> None:
    better = Proposal("layout 1-2-3-4", 0.5, 0.9, -0.12, 0.041, layout=(1, 2, 3, 4))
    assert str(better) == "layout 1-2-3-4: +4.1 points, loss -0.1200"
    assert better.is_better
    worse = Proposal("layout 4-3-2-1", 0.5, None, 0.12, None)
    assert str(worse) == "layout 4-3-2-1: loss +0.1200"
    assert not worse.is_better
    assert Proposal("", 0.5, 0.8, -0.01, 0.0).is_better
