"""The angle map: from (inputs, weights) to the angle of every slot of a program.

Slots that are affine in the parameters are computed together as one matrix product; the others
(feature maps with products, sines, ...) by a torch function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class NonlinearMap:
    """Slots whose angles are not affine in the parameters.

    Attributes:
        slots: The slots that the function fills.
        parameters: For each slot, the parameters (inputs first, then weights) that it depends on.
        key: What identifies the function: two maps with equal keys compute the same.
        function: ``(inputs (..., num_inputs), weights (..., num_weights)) -> (..., len(slots))`` in
            torch.
    """

    slots: tuple[int, ...]
    parameters: tuple[tuple[int, ...], ...]
    key: str
    function: Callable[[Tensor, Tensor], Tensor] = field(compare=False, repr=False)


@dataclass(frozen=True)
class AngleMap:
    """Angles of all slots as a function of named inputs and weights.

    Attributes:
        inputs: Names of the inputs, in the order of the columns of ``x``.
        weights: Names of the weights.
        constants: The constant part of each slot; its length is the number of slots.
        terms: Affine part as ``(slot, parameter, coefficient)``; parameters count inputs first,
            then weights.
        nonlinear: The slots that are not affine, if any.

    Example:
        >>> terms = ((0, 0, 2.0), (1, 1, 1.0))
        >>> twice = AngleMap(inputs=("x",), weights=("w",), constants=(0.0, 1.0), terms=terms)
        >>> twice(torch.tensor([[0.5], [1.0]]), torch.tensor([3.0]))
        tensor([[1., 4.],
                [2., 4.]])
    """

    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    constants: tuple[float, ...]
    terms: tuple[tuple[int, int, float], ...] = ()
    nonlinear: NonlinearMap | None = None

    @classmethod
    def identity(cls, num_slots: int) -> AngleMap:
        """The map whose inputs are the angles themselves."""
        names = tuple(f"slot[{s}]" for s in range(num_slots))
        return cls(names, (), (0.0,) * num_slots, tuple((s, s, 1.0) for s in range(num_slots)))

    def after(self, first: AngleMap) -> AngleMap:
        """The map that takes the parameters of ``first``, whose slots are the inputs of this one.

        Both must be affine, and this one without weights.

        Example:
            >>> once = AngleMap(("x",), ("w",), (0.0, 1.0), ((0, 0, 2.0), (1, 1, 1.0)))
            >>> total = AngleMap(("a", "b"), (), (0.5,), ((0, 0, 1.0), (0, 1, -1.0)))
            >>> total.after(once)
            AngleMap(inputs=('x',), weights=('w',), constants=(-0.5,), \
terms=((0, 0, 2.0), (0, 1, -1.0)), nonlinear=None)
        """
        assert self.nonlinear is None and first.nonlinear is None and not self.weights
        assert len(self.inputs) == first.num_slots
        by_slot: list[list[tuple[int, float]]] = [[] for _ in first.constants]
        for slot, parameter, coefficient in first.terms:
            by_slot[slot].append((parameter, coefficient))
        constants = list(self.constants)
        terms: dict[tuple[int, int], float] = {}
        for slot, inner, outer in self.terms:
            constants[slot] += outer * first.constants[inner]
            for parameter, coefficient in by_slot[inner]:
                key = slot, parameter
                terms[key] = terms.get(key, 0.0) + outer * coefficient
        kept = tuple((*key, c) for key, c in sorted(terms.items()) if c != 0)
        return AngleMap(first.inputs, first.weights, tuple(constants), kept)

    def extended(self, copies: Sequence[tuple[int, float, float]]) -> AngleMap:
        """The map with more slots: each a factor times a slot of this one, plus a constant.

        Args:
            copies: ``(slot, factor, constant)`` for each new slot; factor 0 for a constant alone.

        Example:
            >>> once = AngleMap(("x",), (), (0.5,), ((0, 0, 1.0),))
            >>> once.extended([(0, -1.0, 0.0)])(torch.tensor([[0.25]]), torch.zeros(0))
            tensor([[ 0.7500, -0.7500]])
        """
        by_slot: list[list[tuple[int, float]]] = [[] for _ in self.constants]
        for slot, parameter, coefficient in self.terms:
            by_slot[slot].append((parameter, coefficient))
        constants, terms = list(self.constants), list(self.terms)
        slots = () if self.nonlinear is None else self.nonlinear.slots
        formula = {slot: k for k, slot in enumerate(slots)}
        repeated: list[tuple[int, int, float]] = []  # new slot, place among the formulas, factor
        for source, factor, constant in copies:
            new = len(constants)
            constants.append(constant + (factor * self.constants[source] if factor else 0.0))
            if factor and source in formula:
                repeated.append((new, formula[source], factor))
            elif factor:
                terms += [(new, p, factor * c) for p, c in by_slot[source]]
        nonlinear = self.nonlinear
        if nonlinear is not None and repeated:
            nonlinear = NonlinearMap(
                nonlinear.slots + tuple(new for new, _, _ in repeated),
                nonlinear.parameters + tuple(nonlinear.parameters[k] for _, k, _ in repeated),
                f"{nonlinear.key} with copies {repeated}",
                _Repeated(nonlinear.function, tuple((k, f) for _, k, f in repeated)),
            )
        return AngleMap(self.inputs, self.weights, tuple(constants), tuple(terms), nonlinear)

    @property
    def num_slots(self) -> int:
        """Number of angles."""
        return len(self.constants)

    @cached_property
    def dependencies(self) -> tuple[frozenset[int], ...]:
        """For each slot, the parameters (inputs first, then weights) that it depends on."""
        sets: list[set[int]] = [set() for _ in self.constants]
        for slot, parameter, _ in self.terms:
            sets[slot].add(parameter)
        if self.nonlinear is not None:
            for slot, parameters in zip(
                self.nonlinear.slots, self.nonlinear.parameters, strict=True
            ):
                sets[slot].update(parameters)
        return tuple(frozenset(s) for s in sets)

    @cached_property
    def batched_slots(self) -> tuple[int, ...]:
        """Slots that depend on an input, and so differ from sample to sample."""
        n = len(self.inputs)
        return tuple(s for s, used in enumerate(self.dependencies) if any(p < n for p in used))

    @cached_property
    def shared_slots(self) -> tuple[int, ...]:
        """Slots that are the same for every sample."""
        batched = set(self.batched_slots)
        return tuple(s for s in range(self.num_slots) if s not in batched)

    @cached_property
    def _cache(self) -> dict[tuple[object, ...], Tensor]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        # without what is cached
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def _matrices(self, slots: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(A_x, A_w, b)`` of some slots, transposed for ``x @ A_x``.

        In the dtype and on the device of ``like``.
        """
        key = (slots, like.dtype, like.device)
        if (key, "x") not in self._cache:
            n, row = len(self.inputs), {slot: k for k, slot in enumerate(slots)}
            with torch.inference_mode(False):  # what is cached must serve autograd later
                full = torch.zeros(n + len(self.weights), len(slots), dtype=torch.float64)
                for slot, parameter, coefficient in self.terms:
                    if slot in row:
                        full[parameter, row[slot]] += coefficient
                constants = torch.tensor([self.constants[s] for s in slots], dtype=torch.float64)
                for name, part in (("x", full[:n]), ("w", full[n:]), ("b", constants)):
                    self._cache[key, name] = part.to(like.device, like.dtype)
        return self._cache[key, "x"], self._cache[key, "w"], self._cache[key, "b"]

    def split(self, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Angles of the shared slots and of the batched ones.

        Args:
            inputs: Shape ``(batch, num_inputs)``.
            weights: Shape ``(num_weights,)``.

        Returns:
            Shapes ``(num_shared,)`` and ``(batch, num_batched)``.
        """
        _, a_w, b = self._matrices(self.shared_slots, weights)
        shared = b + weights @ a_w
        a_x, a_w, b = self._matrices(self.batched_slots, weights)
        batched = (b + weights @ a_w) + inputs @ a_x
        if self.nonlinear is not None:
            # the shared slots need a row even where the batch is empty
            rows = inputs if len(inputs) else inputs.new_full((1, inputs.shape[1]), 0.5)
            values = self.nonlinear.function(rows, weights.expand(len(rows), -1))
            shared = self._fill(shared, self.shared_slots, values[:1])
            if shared.dim() == 2:
                shared = shared[0]
            batched = self._fill(batched, self.batched_slots, values[: len(inputs)])
        return shared, batched

    def _fill(self, angles: Tensor, slots: tuple[int, ...], values: Tensor) -> Tensor:
        """Add the nonlinear values (their affine part is zero) to the columns they belong to."""
        assert self.nonlinear is not None
        position = {slot: k for k, slot in enumerate(slots)}
        pairs = [(k, position[s]) for k, s in enumerate(self.nonlinear.slots) if s in position]
        if not pairs:
            return angles
        source, target = (
            torch.tensor(part, device=angles.device) for part in zip(*pairs, strict=True)
        )
        angles = angles.expand(len(values), -1) if angles.dim() == 1 else angles
        return angles.index_add(1, target, values[:, source].to(angles.dtype))

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """All angles, shape ``(batch, num_slots)``."""
        shared, batched = self.split(inputs, weights)
        order = torch.tensor(self.shared_slots + self.batched_slots, dtype=torch.long).argsort()
        both = torch.cat([shared.expand(len(inputs), -1), batched], dim=1)
        return both[:, order.to(both.device)]


@dataclass(frozen=True, eq=False)
class _Repeated:
    """A function whose values are followed by multiples of some of them."""

    function: Callable[[Tensor, Tensor], Tensor]
    copies: tuple[tuple[int, float], ...]

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        values = self.function(inputs, weights)
        factors = values.new_tensor([factor for _, factor in self.copies])
        return torch.cat([values, values[..., [k for k, _ in self.copies]] * factors], dim=-1)
