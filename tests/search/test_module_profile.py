"""The walk over a module: parts, and that nothing of the model changes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nisqkit.search.metric import Metric
from nisqkit.search.profile import Profile, profile


class Circuit(nn.Module):
    """Something that describes itself, and has an inside that is its own affair."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def __profile__(self, example: Tensor | None = None, shots: int = 1) -> Profile:
        rows = 0 if example is None else len(example)
        wanted = example is not None and example.requires_grad
        metrics = {
            "runs": Metric(rows * shots * (2 if wanted else 1)),
            "qubits": Metric(3, aggregate="max"),
        }
        return Profile("circuit", "quantum", metrics, notes=("described",))


def test_parts_describe_themselves_and_know_what_stands_before_them() -> None:
    net = nn.Sequential(nn.Linear(4, 3), Circuit(), nn.Linear(3, 2))
    found = profile(net, torch.zeros(5, 4), shots=10)
    assert [child.kind for child in found.children] == ["classical", "quantum", "classical"]
    assert found.kind == "model"
    assert found.total("runs").value == 100  # the encoder before it is trained
    assert found.total("macs").value == 5 * (12 + 6)  # without the inside of the circuit
    assert found.total("parameters").value == 15 + 12 + 8
    assert found.children[1].total("parameters").value == 12
    assert found.children[1].children == ()
    net[0].requires_grad_(False)
    assert profile(net, torch.zeros(5, 4), shots=10).total("runs").value == 50
    alone = profile(Circuit(), shots=7)  # it needs no example
    assert (alone.kind, alone.total("runs").value) == ("quantum", 0)


def test_two_calls_of_one_part_count_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.circuit = Circuit()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.circuit(self.circuit(x))
            return y

    found = profile(Twice(), torch.zeros(5, 3))
    assert found.total("runs").value == 5 + 10  # behind the first call its weights are trained
    assert found.total("qubits").value == 3
    assert found.total("parameters").value == 12
    assert found.kind == "quantum"


def test_shared_and_unused_modules() -> None:
    linear = nn.Linear(4, 4)
    net = nn.Sequential(linear, nn.ReLU(), linear)
    found = profile(net, torch.zeros(1, 4))
    assert found.total("macs").value == 32
    assert [child.name for child in found.children] == ["0", "1"]

    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, *, x: Tensor) -> Tensor:
            y: Tensor = self.used(input=x)
            return y

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Skips()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x=x)
            return y

    found = profile(Outer(), torch.zeros(1, 4))
    assert found.total("macs").value == 8
    assert "inner.unused: not called with this example" in found.all_notes()
    assert "inner.unused.macs" not in found.flat()
    assert found.flat()["inner.unused.parameters"] == 10


def test_a_model_without_products_has_none() -> None:
    found = profile(nn.Sequential(nn.ReLU(), nn.Flatten()), torch.zeros(2, 3, 4))
    assert (found.total("macs").value, found.total("parameters").value) == (0, 0)
    assert "0.macs" not in found.flat()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    buffer = net[1].running_mean
    profile(net, torch.rand(5, 4, generator=torch.Generator().manual_seed(0)), latency_runs=3)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert net[1].running_mean is buffer
    assert torch.equal(random, torch.get_rng_state())
    assert net.training == training
    hooks = [*net[0]._forward_hooks, *net[0]._forward_pre_hooks, *net._forward_hooks]
    assert hooks == []
    assert all(p.grad is None for p in net.parameters())


def test_a_failing_model_leaves_no_hooks() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        profile(net, torch.zeros(1, 5))
    assert not net[0]._forward_pre_hooks
    assert net(torch.zeros(1, 4)).shape == (1, 3)


def test_profiles_are_the_same_each_time() -> None:
    net, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(2, 4)
    assert profile(net, x) == profile(net, x)


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of Linear depend on its input: pass an example"):
        profile(nn.Linear(2, 2))
    options: dict[str, Any] = {"device": None, "shots": 3}
    with pytest.raises(ValueError, match=r"device, shots would change nothing: no part of Linear"):
        profile(nn.Linear(2, 2), torch.zeros(1, 2), **options)
