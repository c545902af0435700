"""Update policies: which tensors and which angles are trained, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nisqkit.circuits.program import Program
from nisqkit.compression.frozen_angles import check_positions, freeze_angles
from nisqkit.compression.lean_layers import lean
from nisqkit.compression.supernet import Supernet
from nisqkit.search.names import nearest
from nisqkit.search.profile import Profile, profile


@dataclass(frozen=True)
class UpdatePolicy:
    """The parameters that are trained, by name; all others are frozen.

    Policies are joined by ``|``. They name parameters, and fit every model that has these.

    Attributes:
        tensors: Names as in ``model.named_parameters()``.
        angles: For weight vectors of circuits, by name, the positions that are trained. One that is
            in `tensors` is trained as a whole.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> sorted(bias_only(model).tensors)
        ['0.bias', '2.bias']
        >>> policy = bias_only(model) | layers(model, "2")
        >>> with policy.applied(model):
        ...     print(sum(p.numel() for p in model.parameters() if p.requires_grad))
        26
    """

    tensors: frozenset[str] = frozenset()
    angles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __or__(self, other: UpdatePolicy) -> UpdatePolicy:
        angles = {
            name: tuple(sorted({*self.angles.get(name, ()), *other.angles.get(name, ())}))
            for name in {**self.angles, **other.angles}
        }
        return UpdatePolicy(self.tensors | other.tensors, angles)

    def check(self, model: nn.Module) -> None:
        """Raise a ValueError that names the parameter that this model does not have."""
        parameters = dict(model.named_parameters())
        for name in sorted({*self.tensors, *self.angles}):
            if name not in parameters:
                raise ValueError(
                    f"the policy names the parameter {name!r}, which the model does not have"
                    f"{nearest(name, parameters)}"
                )
        for name, positions in self.angles.items():
            home, _, last = name.rpartition(".")
            circuit = model.get_submodule(home)
            if last != "weights" or not is_circuit(circuit):
                raise ValueError(
                    f"the policy chooses angles of {name!r}, which is no circuit's weights; there "
                    f"are {circuit_weights(model)}"
                )
            check_positions(positions, parameters[name].numel())
            for path, module in model.named_modules():
                if isinstance(module, Supernet) and f"{home}.".startswith(f"{path}.".lstrip(".")):
                    raise ValueError(
                        f"{name!r} belongs to the supernet {type(module).__name__}, whose circuits "
                        "share it: extract a candidate, and choose the angles there"
                    )

    @contextmanager
    def applied(self, model: nn.Module, *, memory: bool = True) -> Iterator[None]:
        """Train by this policy inside the context; make the optimizer there.

        Frozen parameters require no gradient and get none. In circuits of which only some angles
        are trained, the others are constants for the time: ``weights`` holds the trained ones
        alone, and on leaving they are written back into the whole. With ``memory``, frozen layers
        run in a way that keeps less for the backward pass; see `lean`. Everything else is as before
        on leaving.

        Raises:
            ValueError: See `check`.
        """
        self.check(model)
        parameters = dict(model.named_parameters())
        with ExitStack() as undo:
            for name, parameter in parameters.items():
                undo.callback(parameter.requires_grad_, parameter.requires_grad)
                parameter.requires_grad_(name in self.tensors)
            for name, positions in self.angles.items():
                if name not in self.tensors:
                    circuit: Any = model.get_submodule(name.rpartition(".")[0])
                    undo.enter_context(_frozen(circuit, positions))
            if memory:
                undo.enter_context(lean(model))
            yield


@contextmanager
def _frozen(circuit: Any, positions: Sequence[int]) -> Iterator[None]:
    """Only some of a circuit's weights, for a while."""
    whole, program = circuit.weights, circuit.program
    where = torch.tensor(positions, dtype=torch.int64)
    circuit.program = freeze_angles(program, whole, positions)
    circuit.weights = nn.Parameter(whole.detach()[where].clone())
    if not positions:
        circuit.weights.requires_grad_(False)
    try:
        yield
    finally:
        with torch.no_grad():
            whole[where] = circuit.weights.detach().to(whole)
        circuit.weights, circuit.program = whole, program


def is_circuit(module: nn.Module) -> bool:
    """Whether it is a layer that runs a program with a vector of weights."""
    program = getattr(module, "program", None)
    return isinstance(program, Program) and isinstance(getattr(module, "weights", None), Tensor)


def circuit_weights(model: nn.Module) -> list[str]:
    """Names of all weight vectors of circuits."""
    found = [path for path, module in model.named_modules() if is_circuit(module)]
    return [f"{path}.weights".lstrip(".") for path in found]


def everything(model: nn.Module) -> UpdatePolicy:
    """All parameters."""
    return UpdatePolicy(frozenset(name for name, _ in model.named_parameters()))


def bias_only(model: nn.Module) -> UpdatePolicy:
    """All parameters named ``bias``. Weights of circuits are none: add them with ``|``.

    Source: Cai et al., TinyTL, NeurIPS 2020 (arXiv:2007.11622).
    """
    names = [name for name, _ in model.named_parameters() if name.split(".")[-1] == "bias"]
    return UpdatePolicy(frozenset(names))


def last_only(model: nn.Module, count: int = 1) -> UpdatePolicy:
    """All parameters of the last so many layers that have some, in the order of the model.

    Raises:
        ValueError: Fewer than one layer, or more than there are.
    """
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters()))
    if not 1 <= count <= len(owners):
        raise ValueError(f"count={count}: the model has from 1 to {len(owners)} layers to train")
    chosen = set(owners[-count:])
    names = [n for n, _ in model.named_parameters() if n.rpartition(".")[0] in chosen]
    return UpdatePolicy(frozenset(names))


def layers(model: nn.Module, *names: str) -> UpdatePolicy:
    """Chosen layers (all their parameters) and chosen tensors, by name.

    Raises:
        ValueError: A layer or a tensor that does not exist, or a layer without parameters.
    """
    known = [name for name, _ in model.named_parameters()]
    parts = [name for name, _ in model.named_modules() if name]
    chosen: set[str] = set()
    for name in names:
        inside = [n for n in known if n == name or n.startswith(f"{name}.")]
        if not inside:
            why = "has no parameters" if name in parts else "does not exist"
            options = [p for p in [*parts, *known] if p != name]
            raise ValueError(f"the layer {name!r} {why}{nearest(name, options)}")
        chosen.update(inside)
    return UpdatePolicy(frozenset(chosen))


def angles(model: nn.Module, name: str, positions: Sequence[int]) -> UpdatePolicy:
    """Chosen angles of one circuit, such as ``angles(model, "1.weights", [0, 2])``.

    Raises:
        ValueError: No circuit's weights, or positions out of range.
    """
    policy = UpdatePolicy(angles={name: tuple(positions)})
    policy.check(model)
    return policy


@dataclass(frozen=True)
class UpdateCosts:
    """What a training step with a policy costs.

    Attributes:
        trained: Parameters that are trained.
        saved_bytes: What autograd keeps for the backward pass, measured.
        executions: Circuits that run for a step by parameter shift, of all circuits in the model;
            None where there is none.
        profile: Everything else.
    """

    trained: int
    saved_bytes: int
    executions: int | None
    profile: Profile


def update_costs(
    model: nn.Module, example: Any, policy: UpdatePolicy, *, memory: bool = True, **options: Any
) -> UpdateCosts:
    """Measure a policy on an example, which is a whole batch.

    Args:
        model: The model; it is left as it was.
        example: Its input, with a batch dimension.
        policy: What is trained.
        memory: As in `UpdatePolicy.applied`.
        options: For circuits, as in `nisqkit.search.profile.profile`, such as ``shots=1000``.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> x = torch.zeros(16, 4)
        >>> update_costs(model, x, everything(model)).saved_bytes  # x and the hidden layer
        768
        >>> update_costs(model, x, last_only(model)).saved_bytes
        512
    """
    with policy.applied(model, memory=memory):
        found = profile(model, example, **options)
    totals = found.totals()
    shift = totals.get("executions_per_step.parameter_shift")
    return UpdateCosts(
        int(totals["trainable_parameters"].value),
        int(totals["saved_for_backward_bytes"].value),
        None if shift is None else int(shift.value),
        found,
    )
