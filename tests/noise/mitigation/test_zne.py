"""Zero-noise extrapolation, against Mitiq on the same circuits and against exact scaling."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nisqkit.circuits import Observables, Task, encoder, lower, u3_cu3
from nisqkit.circuits.to_qiskit import circuit_of
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.noise import Channel, Device, NoiseModel
from nisqkit.noise.mitigation import ZNE
from nisqkit.noise.mitigation.extrapolation import extrapolate
from nisqkit.qml import QuantumLayer

BELEM = Device.load("fake_belem")
CIRCUIT = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
X = torch.rand(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def layer(mitigation: ZNE | None, **options: object) -> QuantumLayer:
    made = QuantumLayer(
        CIRCUIT,
        "x",
        noise=BELEM,
        mitigation=mitigation,
        init="uniform",
        seed=0,
        **options,  # type: ignore[arg-type]
    )
    return made.double()


def error(found: Tensor) -> float:
    return (found - layer(None).with_backend("native")(X)).abs().mean().item()


@pytest.mark.parametrize("extrapolation", ["richardson", "linear"])
def test_exact_scaling_is_that_of_the_noise_model(extrapolation: str) -> None:
    found = layer(ZNE((1, 1.5, 2), extrapolation, folding="noise"))(X)
    model = NoiseModel.from_device(BELEM)
    values = [layer(None).with_backend("native", noise=model.scale(s))(X) for s in (1, 1.5, 2)]
    expected, _ = extrapolate((1, 1.5, 2), torch.stack(values), method=extrapolation)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("folding", ["global", "gates"])
def test_folding_comes_near_to_exact_scaling_and_lowers_the_error(folding: str) -> None:
    no_readout = replace(NoiseModel.from_device(BELEM), readout=(), ideal=frozenset({"measure"}))
    gates = {use: no_readout.gates[use] for use in no_readout.gates}
    model = replace(no_readout, gates=gates, ideal=no_readout.ideal | _virtual())
    raw = layer(None).with_backend("native", noise=model)(X)
    folded = layer(None).with_backend("native", noise=model, mitigation=ZNE(folding=folding))(X)
    scaled = layer(None).with_backend("native", noise=model, mitigation=ZNE(folding="noise"))(X)
    assert error(folded) < 0.2 * error(raw)
    assert (folded - scaled).abs().max() < 0.1 * (raw - scaled).abs().max() + 5e-3


def _virtual() -> set[tuple[str, tuple[int, ...]]]:
    return {use for use in NoiseModel.from_device(BELEM).ideal if not isinstance(use, str)}


def test_gradients_are_those_of_finite_differences() -> None:
    mitigated = layer(ZNE((1, 2, 3), "exponential", folding="gates"))
    x = X.clone().requires_grad_()
    found = torch.autograd.grad(mitigated(x).sum(), (mitigated.weights, x))
    step = 1e-5
    for tensor, grad, index in ((mitigated.weights, found[0], (5,)), (x, found[1], (1, 3))):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor[index] += sign * step
                values.append(mitigated(x).sum().item())
                tensor[index] -= sign * step
        assert grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-5)


def test_sampled_values_have_a_standard_error_and_parameter_shift_gradients() -> None:
    exact = layer(ZNE((1, 3)))
    sampled = layer(ZNE((1, 3)), shots=20_000)
    result = sampled.estimate(X)
    assert result.std is not None
    assert ((result.values - exact(X)).abs() < 4 * result.std).all()
    (grad,) = torch.autograd.grad(sampled(X[:1]).sum(), sampled.weights)
    (wanted,) = torch.autograd.grad(exact(X[:1]).sum(), exact.weights)
    # per shifted value the error is about that of the sum of four outputs, amplified twice
    assert (grad - wanted).abs().max() < 0.5
    assert torch.corrcoef(torch.stack([grad, wanted]))[0, 1] > 0.8


@pytest.mark.parametrize(("folding", "name"), [("global", "fold_global"), ("gates", "fold_all")])
def test_values_are_those_of_mitiq(folding: str, name: str) -> None:
    """Same circuit, same noise, same scales and factory; Mitiq folds and asks this executor."""
    with warnings.catch_warnings(action="ignore"):
        from mitiq import zne
        from mitiq.zne.inference import RichardsonFactory
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rx(0.4, 1)
    circuit.cx(0, 1)
    circuit.ry(0.3, 0)
    names = (
        "h",
        "cx",
        "rx",
        "ry",
        "rz",
        "u3",
        "u",
        "x",
        "z",
        "y",
        "id",
        "s",
        "sdg",
        "u2",
        "u1",
        "p",
    )
    gates = {(n, ()): Channel.depolarizing(0.02, 2 if n == "cx" else 1) for n in names if n != "rz"}
    model = NoiseModel("by hand", gates, {"rz", "measure"})
    z = Observables.parse("ZZ", 2)
    none = torch.zeros(1, 0, dtype=torch.float64)

    def executor(bound):  # type: ignore[no-untyped-def] # Mitiq reads annotations, if any
        task = Task(lower(bound), none, none[0], z)
        return execute([task], Execution(noise=model))[0].values.item()

    with warnings.catch_warnings(action="ignore"):
        theirs = zne.execute_with_zne(
            circuit,
            executor,
            factory=RichardsonFactory([1, 3, 5]),
            scale_noise=getattr(zne.scaling, name),
        )
    task = Task(lower(circuit), none, none[0], z)
    ours = execute([task], Execution(noise=model, mitigation=ZNE(folding=folding)))[0].values
    assert ours.item() == pytest.approx(theirs, abs=1e-8)
    assert circuit_of(task.program).num_qubits == 2


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"has 0\.5: noise can only be amplified"):
        ZNE((0.5, 1))
    with pytest.raises(ValueError, match="unknown folding 'globel'; did you mean 'global'"):
        ZNE(folding="globel")
    with pytest.raises(ValueError, match=r"gates=\['cx'\] goes with folding='gates'"):
        ZNE(gates=["cx"])
    with pytest.raises(ValueError, match="scales the noise model of a simulator, and this backend"):
        QuantumLayer(CIRCUIT, "x", mitigation=ZNE(folding="noise"))
    with pytest.raises(ValueError, match="unknown gate of the circuit 'cz'"):
        layer(ZNE(folding="gates", gates=["cz"]))  # before anything runs
    assert layer(ZNE(folding="gates", gates=["cx"]))(X).isfinite().all()
