"""From a torch function that computes angles to an `AngleMap`.

The function is traced once into a graph of tensor operations. Each angle is followed back through
the graph: if every operation on the way is affine (selecting, reshaping, adding, scaling by
constants), its coefficients are read off as the exact Jacobian; if not, the part of the graph that
computes it becomes the angle's function. What is left needs neither the original function nor the
library that it was written for, and can be pickled.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from nisqkit.circuits.angles import AngleMap, NonlinearMap

CONSTANT, AFFINE, NONLINEAR = 0, 1, 2

_aten = torch.ops.aten
_LINEAR = {
    getattr(_aten, name)
    for name in """
    select slice view _unsafe_view reshape unsqueeze squeeze squeeze_ expand permute transpose t
    clone alias lift_fresh_copy neg unbind split split_with_sizes _to_copy sum mean index
    index_select diagonal flip roll repeat cumsum stack cat add sub real view_as_real complex
    select_scatter slice_scatter
    """.split()  # noqa: SIM905 - a list literal takes one line per name
}
_BILINEAR = {_aten.mul, _aten.mm, _aten.mv, _aten.dot, _aten.bmm}
_ASSIGNMENTS = {_aten.select_scatter, _aten.slice_scatter, _aten.index_put}
_SHAPE_ONLY = {
    _aten.ones_like,
    _aten.zeros_like,
    _aten.full_like,
    _aten.new_zeros,
    _aten.new_ones,
    _aten.new_full,
}


@torch.enable_grad()
def angle_map_of(
    function: Callable[[Tensor, Tensor], Sequence[Tensor]],
    inputs: tuple[str, ...],
    weights: tuple[str, ...],
    *,
    any_scale: bool = False,
) -> AngleMap:
    """The angle map of a torch function.

    Args:
        function: ``(inputs (num_inputs,), weights (num_weights,)) -> tensors``; the slots are their
            entries, in order.
        inputs: Names of the inputs.
        weights: Names of the weights.
        any_scale: The entries of the last tensor count up to a common factor only (amplitudes), so
            that a normalisation in the function may be left out.

    Raises:
        ValueError: The function reads the value of a parameter to decide what to do.

    Example:
        >>> angle_map_of(lambda x, w: [2 * x[:1] + w, w.sin()], ("x",), ("w",)).terms
        ((0, 0, 2.0), (0, 1, 1.0))
    """
    point = sample_point(len(inputs), len(weights), seed=0)
    try:
        module = make_fx(lambda x, w: list(function(x, w)))(*point)
    except RuntimeError as error:
        if "tracing tensor" not in str(error):
            raise
        raise ValueError(
            "the structure depends on the values of the parameters: the function turns a tensor "
            "into a Python number (if, float() or .item()), so its circuit cannot be fixed; use "
            "torch functions of the tensors instead"
        ) from error
    if any(_assigns(node) for node in module.graph.nodes):
        # removed in a second pass, since the function itself must see real numbers
        module = make_fx(functionalize(module))(*point)
        _replace_copies(module)
    (outputs,) = (list(node.args[0]) for node in module.graph.nodes if node.op == "output")
    if any_scale:
        outputs[-1] = _without_norm(outputs[-1])
    kinds = _kinds(module)
    sizes = [node.meta["val"].numel() for node in outputs]
    slots = [range(sum(sizes[:k]), sum(sizes[: k + 1])) for k in range(len(sizes))]
    affine = [k for k, node in enumerate(outputs) if kinds[node][0] != NONLINEAR]
    rest = [k for k in range(len(outputs)) if k not in affine]
    constants, terms = [0.0] * sum(sizes), list[tuple[int, int, float]]()
    if affine:
        offset, slopes = _coefficients(
            _part(module, [outputs[k] for k in affine]), len(inputs), len(weights)
        )
        rows = [s for k in affine for s in slots[k]]
        for row, c, slope in zip(rows, offset, slopes, strict=True):
            constants[row] = c
            terms += [(row, p, a) for p, a in enumerate(slope) if a != 0]
    nonlinear = None
    if rest:
        columns = {"x": range(len(inputs)), "w": range(len(inputs), len(inputs) + len(weights))}
        used = {
            k: tuple(p for name in "xw" if name in kinds[outputs[k]][1] for p in columns[name])
            for k in rest
        }
        part = _part(module, [outputs[k] for k in rest])
        traced = TracedAngles(part, len(inputs), len(weights))
        nonlinear = NonlinearMap(
            tuple(s for k in rest for s in slots[k]),
            tuple(used[k] for k in rest for _ in slots[k]),
            traced.key,
            traced,
        )
    return AngleMap(inputs, weights, tuple(constants), tuple(terms), nonlinear)


def sample_point(num_inputs: int, num_weights: int, seed: int) -> tuple[Tensor, Tensor]:
    """Generic values of inputs and weights, float64.

    They lie in (0.2, 0.9), so that logarithms, roots and arcs exist.
    """
    generator = torch.Generator().manual_seed(seed)
    values = 0.2 + 0.7 * torch.rand(
        num_inputs + num_weights, generator=generator, dtype=torch.float64
    )
    return values[:num_inputs], values[num_inputs:]


class TracedAngles:
    """A traced graph as the function of a `NonlinearMap`: batched, in float64, on the CPU.

    The graph holds constants in the precision and on the device that it was traced with, so inputs
    are converted to those, and results back; both conversions are differentiable.

    Attributes:
        module: The graph, for one sample.
        batched: Whether `torch.func.vmap` gives the same values and gradients as sample by sample.
            It does not for assignments (seen with torch 2.13: the gradient of ``select_scatter`` is
            multiplied by the size), nor for operations that it does not know.
    """

    def __init__(self, module: fx.GraphModule, num_inputs: int, num_weights: int) -> None:
        self.module = module
        self.batched = not any(_packet(node) in _ASSIGNMENTS for node in module.graph.nodes)
        point = sample_point(num_inputs, num_weights, seed=3)
        try:
            self.batched = self.batched and all(
                torch.allclose(*pair, rtol=1e-9, atol=1e-12, equal_nan=True)
                for pair in zip(self._slopes(point, True), self._slopes(point, False), strict=True)
            )
        except RuntimeError:
            self.batched = False

    def _slopes(self, point: tuple[Tensor, Tensor], batched: bool) -> list[Tensor]:
        """Values and gradients for a batch of one sample."""
        x, w = (p[None].requires_grad_() for p in point)
        values = self._rows(x, w, batched)
        mix = torch.linspace(1, 2, values.numel(), dtype=values.dtype)
        if not values.requires_grad:
            return [values]
        slopes = torch.autograd.grad((mix * values[0]).sum(), [x, w], materialize_grads=True)
        return [values.detach(), *slopes]

    def _rows(self, x: Tensor, w: Tensor, batched: bool) -> Tensor:
        if batched:
            return vmap(self.entries)(x, w)
        return torch.stack([self.entries(a, b) for a, b in zip(x, w, strict=True)])

    @property
    def key(self) -> str:
        """A digest of the operations and the constants."""
        digest = hashlib.sha256(self.module.code.encode())
        for node in self.module.graph.nodes:
            if node.op == "get_attr":
                digest.update(repr(getattr(self.module, node.target).tolist()).encode())
        return digest.hexdigest()

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """``(..., num_inputs), (..., num_weights) -> (..., number of entries)``."""
        batch = torch.broadcast_shapes(inputs.shape[:-1], weights.shape[:-1])  # type: ignore[no-untyped-call]
        x, w = (
            t.to("cpu", torch.float64).expand(*batch, t.shape[-1]).reshape(prod(batch), t.shape[-1])
            for t in (inputs, weights)
        )
        if not prod(batch):
            return inputs.new_zeros(
                *batch, len(self.entries(*sample_point(x.shape[1], w.shape[1], 0)))
            )
        values = self._rows(x, w, self.batched)
        return values.reshape(*batch, values.shape[1]).to(inputs)

    def entries(self, x: Tensor, w: Tensor) -> Tensor:
        """All entries for one sample, as one vector."""
        return _entries(self.module, x, w)


def _entries(module: fx.GraphModule, x: Tensor, w: Tensor) -> Tensor:
    return torch.cat([part.reshape(-1).to(torch.float64) for part in module(x, w)])


def _replace_copies(module: fx.GraphModule) -> None:
    """Write what an assignment copies as a conversion: ``copy`` has no derivative in torch."""
    for node in module.graph.nodes:
        if _packet(node) is _aten.copy:
            value, source = node.meta["val"], node.args[1]
            with module.graph.inserting_before(node):
                wide = module.graph.call_function(_aten.expand.default, (source, list(value.shape)))
                copy = module.graph.call_function(
                    _aten._to_copy.default, (wide,), {"dtype": value.dtype}
                )
            wide.meta["val"] = source.meta["val"].expand(value.shape)
            copy.meta["val"] = value
            node.replace_all_uses_with(copy)
            module.graph.erase_node(node)


def _kinds(module: fx.GraphModule) -> dict[fx.Node, tuple[int, frozenset[str]]]:
    """For every value: constant, affine or not, and which arguments ("x", "w") it comes from."""
    kinds: dict[fx.Node, tuple[int, frozenset[str]]] = {}
    for node in module.graph.nodes:
        if node.op == "output":
            continue
        if node.op == "placeholder":
            kinds[node] = (AFFINE, frozenset("x" if not kinds else "w"))
            continue
        parts = [kinds[argument] for argument in node.all_input_nodes]
        kind = max((k for k, _ in parts), default=CONSTANT)
        if kind == AFFINE and not _keeps_affine(node, kinds):
            kind = NONLINEAR
        if _packet(node) in _SHAPE_ONLY:
            parts, kind = [], CONSTANT
        kinds[node] = (kind, frozenset[str]().union(*(names for _, names in parts)))
    if any(_assigns(node) for node in kinds):  # then a node is not one value
        return {node: (NONLINEAR, names) for node, (_, names) in kinds.items()}
    return kinds


def _assigns(node: fx.Node) -> bool:
    """Whether an operation overwrites numbers (tracing removes what it can of these)."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable and _packet(node) is not _aten.squeeze_


def _keeps_affine(node: fx.Node, kinds: dict[fx.Node, tuple[int, frozenset[str]]]) -> bool:
    """Whether an operation on affine values gives affine values."""
    packet = _packet(node)
    varying = [argument for argument in node.all_input_nodes if kinds[argument][0] != CONSTANT]
    if not _is_continuous(node.meta.get("val")):
        return False  # rounded to integers or compared
    if node.target is operator.getitem:
        return True
    if packet in (_aten.index, _aten.index_select):
        return varying == [node.args[0]]
    if packet is _aten.div:
        return "rounding_mode" not in node.kwargs and varying == [node.args[0]]
    if packet in _BILINEAR:
        return len(varying) == 1 and node.args.count(varying[0]) == 1
    return packet in _LINEAR


def _is_continuous(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_continuous(v) for v in value)
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _without_norm(node: fx.Node) -> fx.Node:
    """``v`` where the graph computes ``v / |v|``, the node itself otherwise."""
    quotient = _before_reshapes(node)
    if _packet(quotient) is not _aten.div or len(quotient.all_input_nodes) != 2:
        return node
    vector, norm = quotient.all_input_nodes
    norm = _before_reshapes(norm)
    is_norm = _packet(norm) is _aten.linalg_vector_norm and norm.args[0] is vector
    return vector if is_norm and norm.args[1:2] in ((), (2,)) else node


def _before_reshapes(node: fx.Node) -> fx.Node:
    while _packet(node) in (_aten.view, _aten.unsqueeze):
        (node,) = node.all_input_nodes
    return node


def _packet(node: fx.Node) -> Any:
    """The operation of a node, whatever its overload."""
    return getattr(node.target, "overloadpacket", None)


def _part(module: fx.GraphModule, outputs: list[fx.Node]) -> fx.GraphModule:
    """The part of a graph that computes some of its values."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.graph_copy(module.graph, copies)
    graph.output([copies[node] for node in outputs])
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def _coefficients(
    module: fx.GraphModule, num_inputs: int, num_weights: int
) -> tuple[list[float], list[list[float]]]:
    """Constants and slopes of an affine graph, one row per entry; columns count inputs first."""
    zeros = tuple(torch.zeros(n, dtype=torch.float64) for n in (num_inputs, num_weights))
    point = sample_point(num_inputs, num_weights, seed=4)
    offset = _entries(module, *zeros) + 0.0  # no negative zeros
    for vectorize in (True, False):  # the first is fast, but see `TracedAngles.batched`
        slopes = torch.cat(
            torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
                lambda x, w: _entries(module, x, w), zeros, vectorize=vectorize
            ),
            dim=1,
        )
        if torch.allclose(offset + slopes @ torch.cat(point), _entries(module, *point), rtol=1e-9):
            break
    return offset.tolist(), slopes.tolist()
