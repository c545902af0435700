"""QuantumLayer: a parameterised circuit as a `torch.nn.Module`."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from torch import Tensor, nn

from nisqkit.circuits.lower import InputsLike
from nisqkit.circuits.observables import ObservableLike, Observables
from nisqkit.circuits.program import Program
from nisqkit.circuits.task import Task
from nisqkit.hardware_backends.base import Backend, Result
from nisqkit.hardware_backends.execute import Execution, execute
from nisqkit.hardware_backends.gradients import SPSA, ParameterShift
from nisqkit.noise.device import Device
from nisqkit.noise.mitigation.base import Mitigator
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.front_ends import read_circuit
from nisqkit.qml.initialisers import initial_weights
from nisqkit.qml.injection import Injection, InjectionLike, read_injection


class QuantumLayer(nn.Module):
    """A circuit as a layer: its inputs are the layer's, its expectation values the output.

    The circuit's weights are trained.
    ``forward(x)``: ``(..., num_inputs) -> (..., num_outputs)``. With ``inputs=None``, ``layer()``
    returns ``(num_outputs,)``. Gradients flow to inputs and weights on every backend. Inputs are
    taken in, and outputs come in, the dtype of the weights (``layer.double()`` for float64).
    Barriers are no gates: they keep a transpiler from merging what they separate. ``calls`` in the
    `state_dict` counts the calls that draw something (shots, errors, SPSA), so that a resumed run
    draws new ones.

    Args:
        circuit: A `qiskit.QuantumCircuit`; OpenQASM 3 text; a `Program`; or a PennyLane QNode,
            quantum function or tape, whose ``inputs`` argument takes one sample.
        inputs: Which parameters are inputs, in the order of the columns of ``x``: a
            `ParameterVector`, parameters or names. For a PennyLane function: the number of
            features. All other parameters are weights, so with ``None`` every one is.
        observables: ``None`` for Z on each qubit (column ``k`` is qubit ``k``), Pauli strings (read
            right to left) or `SparsePauliOp`, or ``"probs"``. A QNode keeps its own measurements,
            with its own columns.
        backend: A name such as ``"native"``, ``"reference"``, ``"aer"``,
            ``"pennylane:default.qubit"``; a `Backend`; or a Qiskit V2 estimator or sampler.
        noise: The `Device` whose noise is simulated, or a `NoiseModel`. The native engine computes
            exact values and gradients (density matrices) where up to 7 qubits of the device are in
            use, and means over random errors beyond that; `NoisyBackend` has options.
        layout: The physical qubit of each logical one; ``None`` lets Qiskit choose. Only with noise
            that has a device.
        shots: Measurements per sample; ``None`` for exact values.
        diff_method: ``"auto"`` (the backend's own, else parameter shift). Exact values only:
            ``"adjoint"`` (native, lightning), ``"backprop"`` (reference, default.qubit).
            Everywhere: ``"parameter-shift"``, ``"spsa"``, or `ParameterShift` or `SPSA`.
        init: ``"auto"`` (small-angle), ``"uniform"`` in ``[-pi, pi)``, ``"small-angle"`` in
            ``[-0.1, 0.1)``, ``"gaussian"`` (narrower with depth), ``"identity-block"`` (for
            `mirrored`), or the weights themselves.
        seed: Seed of the initial weights and of all shots; default drawn from torch's generator.
        weight_shapes: For a PennyLane function: the shape of each weight argument.
        mitigation: Error mitigation, in training too: a `Mitigator` such as `ZNE`, or several that
            wrap the backend in this order. Gradients flow through those that have any.
        inject: What noise the layer trains with, where that is not what ``backend`` and ``noise``
            return: ``"gates"``, ``"exact"``, ``"outcomes"``, ``"angles"`` or an `Injection`. In
            evaluation mode (``layer.eval()``) it plays no part.

    Attributes:
        weights: The trained parameters, one vector in the order of ``program.weights``.
        program: The lowered circuit.
        circuit: The circuit as given, or ``None`` if it was not a Qiskit circuit.
        injection: What ``inject`` is, or ``None``.

    Raises:
        ValueError: Bad parameters, observables, backend or options; wrong width, NaN or infinite
            values in ``forward``.
        TypeError: A circuit of an unknown kind, a seed that is no integer, complex inputs.

    Example:
        >>> from nisqkit.circuits import encoder, u3_cu3
        >>> circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2))
        >>> layer = QuantumLayer(circuit, inputs="x", seed=0)
        >>> layer
        QuantumLayer(4 qubits, 16 inputs -> 4 outputs, 48 weights, backend='native')
        >>> y = layer(torch.zeros(3, 16))
        >>> y.shape
        torch.Size([3, 4])
        >>> y.sum().backward()
        >>> layer.weights.grad.shape
        torch.Size([48])
    """

    calls: Tensor
    injection: Injection | None = None

    def __init__(
        self,
        circuit: QuantumCircuit | str | Program | Any,
        inputs: InputsLike | int = None,
        observables: Sequence[ObservableLike] | ObservableLike | None = None,
        backend: str | Backend | Any = "native",
        noise: Device | NoiseModel | None = None,
        layout: Sequence[int] | None = None,
        shots: int | None = None,
        diff_method: str | SPSA | ParameterShift = "auto",
        init: str | Tensor = "auto",
        seed: int | None = None,
        weight_shapes: Mapping[str, tuple[int, ...]] | None = None,
        mitigation: Mitigator | Sequence[Mitigator] | None = None,
        inject: InjectionLike = None,
    ) -> None:
        super().__init__()
        self.circuit, self.program, measured = read_circuit(circuit, inputs, weight_shapes)
        if observables is None and measured is not None:
            self.observables = measured
        else:
            self.observables = Observables.parse(observables, self.program.num_qubits)
        self.execution = Execution(
            backend, noise, diff_method, None if layout is None else tuple(layout), mitigation
        )
        self.shots = _check_shots(shots)
        self.seed = int(torch.randint(2**31, ())) if seed is None else _check_seed(seed)
        weights = initial_weights(init, self.program, self.observables, self.seed)
        self.weights = nn.Parameter(weights.to(torch.get_default_dtype()))
        # The number of forward passes keys the shots, so that a resumed run draws what the
        # interrupted one would have.
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self._set_injection(inject)

    @property
    def backend(self) -> Backend:
        """The backend object."""
        return self.execution.resolved

    @property
    def num_outputs(self) -> int:
        """Number of output columns."""
        return self.observables.num_outputs

    @property
    def transpiled(self) -> Any:
        """The circuit as the device gets it, with its layout.

        Raises:
            ValueError: The backend has no device.
        """
        transpile = getattr(self.backend, "transpile", None)
        found = None if transpile is None else transpile(self.program)
        if found is None:
            raise ValueError(
                f"backend {self.backend.name!r} has no device, so nothing is transpiled"
            )
        return found

    def forward(self, x: Tensor | None = None) -> Tensor:
        """Outputs for a batch of inputs: ``(..., num_inputs) -> (..., num_outputs)``."""
        return self.estimate(x).values

    def estimate(self, x: Tensor | None = None) -> Result:
        """Outputs with their standard error; shapes as in `forward`.

        ``std`` is ``None`` for exact values.
        """
        rows, shape = self._rows(x)
        random = self._random
        task = self._task(rows, random)
        injection = self.injection if self.training else None
        # before a pass over all inputs
        if injection is None:
            self.execution.check(task)
        else:
            injection.check(task, self.execution)
        self._check_finite(rows)
        if injection is None:
            result = execute([task], self.execution)[0]
        else:
            result = injection.run(task, self.execution, self._buffers)
        if random:
            self.calls += 1
        if len(shape) == 1:  # a view would cost a node in the graph
            return result
        std = None if result.std is None else result.std.reshape(*shape, self.num_outputs)
        return Result(result.values.reshape(*shape, self.num_outputs), std)

    def _set_injection(self, inject: InjectionLike) -> None:
        """Take another injection, with its buffers, and check that the layer can run."""
        if self.injection is not None:
            for name in self.injection.state(self.num_outputs):
                del self._buffers[name]
        self.injection = read_injection(inject)
        task = self._task(self.weights.new_zeros(1, len(self.program.inputs)))
        with torch.no_grad():  # whether gradients are wanted shows when it is called
            self.execution.check(task)
        if self.injection is not None:
            self.injection.check(task, self.execution)
            for name, value in self.injection.state(self.num_outputs).items():
                dtype = self.weights.dtype if value.is_floating_point() else value.dtype
                self.register_buffer(name, value.to(dtype))

    @property
    def _random(self) -> bool:
        """Whether two calls on the same input may differ."""
        if self.training and self.injection is not None:
            return self.injection.random(self.program, self.execution)
        method = self.execution.diff_method
        spsa = method == "spsa" or isinstance(method, SPSA)
        return spsa or self.backend.random(self.program, self.shots)

    def _task(self, rows: Tensor, random: bool = False) -> Task:
        seed = (self.seed, int(self.calls) if random else 0, 0)
        return Task(self.program, rows, self.weights, self.observables, self.shots, seed)

    def _rows(self, x: Tensor | None) -> tuple[Tensor, torch.Size]:
        """Inputs as ``(batch, num_inputs)`` in the layer's dtype, and the leading shape."""
        width = len(self.program.inputs)
        if x is None:
            if width:
                raise ValueError(
                    f"this layer has {width} inputs: call layer(x) with x of shape (..., {width})"
                )
            return self.weights.new_zeros(1, 0), torch.Size(())
        if not isinstance(x, Tensor):
            raise TypeError(f"layer(x) takes a torch.Tensor, not {type(x).__name__}")
        if x.is_complex():
            raise TypeError(
                f"layer(x) takes real inputs, not {x.dtype}: pass real features, for example "
                "torch.view_as_real(z).flatten(-2)"
            )
        if x.dim() == 0 or x.shape[-1] != width:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, "
                f"but the last dimension must be the layer's {width} inputs"
            )
        if x.dim() == 2:
            rows = x
        else:
            rows = x.reshape(-1, width) if width else x.new_zeros(x.shape[:-1].numel(), 0)
        return rows.to(self.weights.dtype), x.shape[:-1]

    def _check_finite(self, rows: Tensor) -> None:
        weights = self.weights.detach()
        if _finite(rows.detach()) and _finite(weights):
            return
        if not rows.isfinite().all():
            row, column = (~rows.isfinite()).nonzero()[0].tolist()
            raise ValueError(
                f"x holds {float(rows.detach()[row, column])} in sample {row}, feature {column} "
                f"({self.program.inputs[column]!r}); inputs must be finite"
            )
        if not weights.isfinite().all():
            bad = int((~weights.isfinite()).nonzero()[0])
            raise ValueError(
                f"weight {self.program.weights[bad]!r} is {float(weights[bad])}; "
                "weights must be finite"
            )

    def with_backend(
        self,
        backend: str | Backend | Any,
        *,
        noise: Device | NoiseModel | None = None,
        layout: Sequence[int] | None = None,
        shots: int | None = None,
        diff_method: str | SPSA | ParameterShift = "auto",
        mitigation: Mitigator | Sequence[Mitigator] | None = None,
        inject: InjectionLike = None,
    ) -> QuantumLayer:
        """The same layer, with the same weights, on another backend.

        Training either layer trains both, since they share one parameter. Nothing else is taken
        over: noise, layout, mitigation and injection are those that are given here.

        Example:
            >>> from nisqkit.circuits import hardware_efficient
            >>> layer = QuantumLayer(hardware_efficient(2, 1), seed=0)
            >>> slow = layer.with_backend("reference")
            >>> slow.weights is layer.weights, torch.allclose(slow(), layer())
            (True, True)
        """
        other = copy.copy(self)
        other.__dict__ = {
            k: copy.copy(v) if isinstance(v, dict) else v for k, v in self.__dict__.items()
        }
        other.execution = Execution(
            backend, noise, diff_method, None if layout is None else tuple(layout), mitigation
        )
        other.shots = _check_shots(shots)
        other.calls = torch.zeros_like(self.calls)
        other._set_injection(inject)
        return other

    def explain(self, batch: int = 64) -> str:
        """How the backend runs a batch: for the native engine its route, fusion, memory and cost.

        Raises:
            ValueError: The backend does not explain itself.

        Example:
            >>> from nisqkit.circuits import angle, hardware_efficient
            >>> layer = QuantumLayer(angle(4).compose(hardware_efficient(4, layers=2)), inputs="x")
            >>> print(layer.explain().splitlines()[1].split(":")[0])
            route           unitary
        """
        explain = getattr(self.backend, "explain", None)
        if explain is None:
            raise ValueError(
                f"backend {self.backend.name!r} does not explain itself; 'native' does"
            )
        rows = self.weights.detach().new_zeros(batch, len(self.program.inputs))
        return str(explain(self._task(rows)))

    def error_budget(self, x: Tensor | None, y: Tensor, loss: Any = None, **options: Any) -> Any:
        """How much loss and accuracy each physical cause of noise costs.

        An `ErrorBudget`; see `nisqkit.qml.error_budget.error_budget` for the definition, for the
        options ``noise``, ``layout`` and ``idle``, and for models that are more than a layer.
        """
        from nisqkit.qml.error_budget import error_budget  # it is built on layers

        return error_budget(self, x, y, loss, **options)

    def plan(self, x: Tensor | int = 1, **options: Any) -> Any:
        """What an IBM backend would send and cost, without sending anything.

        A `Plan`; see `nisqkit.qml.submit.plan_layer` for the options ``train``, ``inputs`` and
        ``steps``.
        """
        from nisqkit.qml.submit import plan_layer  # it is about layers

        return plan_layer(self, x, **options)

    def __profile__(self, example: Tensor | None = None, **options: Any) -> Any:
        """What the circuit costs; see `nisqkit.qml.layer_profile.profile_layer`."""
        from nisqkit.qml.layer_profile import profile_layer  # it is about layers

        return profile_layer(self, example, **options)

    def draw(self, output: str = "text", **options: Any) -> Any:
        """Draw the circuit; ``output`` and options are those of `QuantumCircuit.draw`.

        Raises:
            ValueError: The layer was not made from a circuit and its program cannot be written as
                one.
        """
        circuit = self.circuit
        if circuit is None:
            from nisqkit.circuits.to_qiskit import circuit_of

            circuit = circuit_of(self.program)
        return circuit.draw(output, **options)

    def extra_repr(self) -> str:
        """What stands between the brackets of ``repr(layer)``."""
        parts = [
            f"{self.program.num_qubits} qubits",
            f"{len(self.program.inputs)} inputs -> {self.num_outputs} outputs",
            f"{len(self.program.weights)} weights",
            f"backend={self.backend.name!r}",
        ]
        noise = self.execution.noise
        if noise is not None:
            date = f" of {noise.date:%Y-%m-%d}" if noise.date else ""
            parts.append(f"noise={noise.name}{date}")
        if method := self.backend.describe(self.program):
            parts.append(method)
        if self.shots is not None:
            parts.append(f"shots={self.shots}")
        if self.execution.layout is not None:
            parts.append(f"layout={list(self.execution.layout)}")
        if self.execution.mitigators:
            parts.append(f"mitigation={list(self.execution.mitigators)}")
        if self.injection is not None:
            parts.append(f"inject={self.injection}")
        return ", ".join(parts)


def _finite(values: Tensor) -> bool:
    """A look at all values in one pass.

    Squares may overflow without harm, so False calls for a closer look.
    """
    # torch's own sum takes longer than the kernels of a small circuit
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        array = values.numpy()
        return isfinite(np.vdot(array, array))
    return isfinite(float(values.sum()))


def _check_shots(shots: int | None) -> int | None:
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        raise ValueError(
            f"shots must be a positive integer or None for exact values, got {shots!r}"
        )
    return shots


def _check_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed must be an integer or None, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    return operator.index(seed)
