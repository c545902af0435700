"""Multiply-adds of the operations that torch runs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from nisqkit.search.module_calls import tensors_in

_FORMULAS: dict[Any, Callable[..., float]] = {
    torch.ops.aten.mv: lambda a, b, **_: prod(a.shape),
    torch.ops.aten.addmv: lambda c, a, b, **_: prod(a.shape),
    torch.ops.aten.dot: lambda a, b, **_: prod(a.shape),
    torch.ops.aten.vdot: lambda a, b, **_: prod(a.shape),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: (
        sdpa_flop_count(q.shape, k.shape, v.shape) / 2  # type: ignore[no-untyped-call]
    ),
}
"""Where torch has no formula."""

_NO_PRODUCTS = {
    # normalisation, pooling and softmax: element by element, which is not counted
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *(
        "_batch_norm_with_update",
        "_batch_norm_no_update",
        "cudnn_batch_norm",
        "_batch_norm_impl_index",
    ),
    *("native_layer_norm", "native_group_norm", "_fused_rms_norm"),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"),
    *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "max_pool1d"),
    *("_softmax", "_log_softmax", "_safe_softmax", "native_dropout", "glu", "cumsum", "cumprod"),
    *("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "rrelu_with_noise", "_prelu_kernel"),
    *("var_mean", "var", "std", "linalg_vector_norm", "logsumexp", "count_nonzero", "all", "any"),
    # moving data
    *("unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"),
    *(
        "embedding",
        "cat",
        "stack",
        "copy_",
        "_to_copy",
        "constant_pad_nd",
        "index_select",
        "gather",
    ),
    *("index", "scatter", "scatter_add", "index_put", "index_put_", "index_add", "index_copy"),
    *("repeat", "roll", "flip", "sort", "topk", "upsample_nearest2d", "upsample_bilinear2d"),
    *("reflection_pad1d", "reflection_pad2d", "replication_pad2d", "pixel_shuffle", "im2col"),
    *("argmax", "argmin", "_local_scalar_dense", "nonzero", "tril", "triu", "masked_select"),
    *("fill_", "zero_", "resize_", "set_", "select_backward", "slice_scatter", "select_scatter"),
    # making data
    *("empty", "empty_strided", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full"),
    *("full_like", "new_zeros", "new_ones", "new_full", "new_empty", "arange", "scalar_tensor"),
    *("lift_fresh", "lift_fresh_copy", "eye", "linspace", "one_hot", "new_empty_strided"),
    *("bernoulli", "bernoulli_", "rand", "randn", "rand_like", "randn_like", "randint", "randperm"),
    *("normal_", "uniform_", "random_", "multinomial", "is_same_size", "equal", "isfinite"),
}
"""Operations without tags that are known to multiply no matrices."""


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds of matrix products and convolutions while it is active.

    The formulas are those of torch's FLOP counter, halved: a bias is no multiply-add, and what
    works element by element is not counted. A custom operation counts with the formula that
    ``torch.utils.flop_counter.register_flop_formula`` gave it. Unlike that counter it takes complex
    products as the four real ones that they are, and keeps operations of which nothing is known in
    `unknown`.

    A factor that is made of weights only (masked, transposed or rounded ones too) counts in
    ``nonzero`` with the part of its elements that is not zero.

    Args:
        weights: Parameters and buffers.
        credit: Called with ``(macs, nonzero)`` of each operation.
        unknown: Called with the name of each operation without a formula.

    Example:
        >>> weight, found = torch.eye(3), []
        >>> with MacCounter([weight], lambda *macs: found.append(macs), print):
        ...     y = torch.ones(2, 3) @ weight.T
        >>> found
        [(18.0, 6.0)]
    """

    def __init__(
        self,
        weights: list[Tensor],
        credit: Callable[[float, float], None],
        unknown: Callable[[str], None],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.credit, self.unknown = credit, unknown
        # by storage, which is kept so that its address is not used again
        self._weights = {_key(weight): weight for weight in weights}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket
        counted = name in flop_registry or name in _FORMULAS
        if not counted and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ):  # without autograd these come here whole
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        given = tensors_in((args, kwargs))
        of_weights = [tensor for tensor in given if _key(tensor) in self._weights]
        density = 1.0
        if counted:
            for weight in of_weights:
                if weight.dim() > 1 and weight.numel():  # a bias takes no part
                    density *= int(weight.count_nonzero()) / weight.numel()
        result = func(*args, **kwargs)
        if given and len(of_weights) == len(given):
            self._weights |= {_key(tensor): tensor for tensor in tensors_in(result)}
        if counted:
            macs = self._macs(name, args, kwargs, result)
            self.credit(macs, macs * density)
        elif not _known(func):
            self.unknown(str(name))
        return result

    def _macs(self, name: Any, args: Any, kwargs: Any, result: Any) -> float:
        if name in _FORMULAS:
            macs = float(_FORMULAS[name](*args, **kwargs))
        else:
            macs = flop_registry[name](*args, **kwargs, out_val=result) / 2
        return macs * (4 if any(t.is_complex() for t in tensors_in(result)) else 1)


def _known(func: Any) -> bool:
    """Whether an operation is known to multiply no matrices."""
    return (
        func.is_view
        or torch.Tag.pointwise in func.tags
        or torch.Tag.reduction in func.tags
        or func.overloadpacket.__name__ in _NO_PRODUCTS
        or func.namespace == "prim"
    )


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
