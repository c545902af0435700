"""Distillation: a student learns from the logits and the features of a teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from nisqkit.search.names import nearest


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    *,
    weight: float = 0.5,
    temperature: float = 2.0,
) -> Tensor:
    """How far a student is from its teacher and from the labels.

    ``weight T**2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) cross entropy``
    with ``T = temperature``, both as means over the samples, in nats. ``T**2`` keeps the gradient
    of the first term at the same scale for every temperature. No gradient flows to the teacher.

    Source: Hinton, Vinyals and Dean 2015 (arXiv:1503.02531).

    Args:
        student_logits: (..., classes).
        teacher_logits: (..., classes), such as those of the same circuit without noise.
        labels: (...), the classes as integers; may be left out with ``weight=1``.
        weight: share of the teacher, in [0, 1].
        temperature: above 0; higher ones show more of how the teacher ranks the wrong classes.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes that do not fit, a bad option, or no labels where they count.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.0, 0.0]], requires_grad=True)
        >>> teacher = torch.tensor([[2.0, -2.0]])
        >>> distillation_loss(student, teacher, weight=1.0).backward()
        >>> student.grad  # T (softmax(student / T) - softmax(teacher / T))
        tensor([[-0.7616,  0.7616]])
    """
    if student_logits.dim() == 0 or student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"logits have the shapes {tuple(student_logits.shape)} (student) and "
            f"{tuple(teacher_logits.shape)} (teacher); both must be the same (..., classes)"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}")
    if not (temperature > 0 and isfinite(temperature)):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    classes = student_logits.shape[-1]
    student = student_logits.reshape(-1, classes)
    teacher = teacher_logits.detach().reshape(-1, classes)
    loss = (weight * temperature**2) * functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    if weight == 1:
        return loss
    if labels is None:
        raise ValueError(
            f"with weight={weight} the labels count, too: pass labels, or weight=1 for the teacher "
            "alone"
        )
    if labels.shape != student_logits.shape[:-1]:
        raise ValueError(
            f"labels have the shape {tuple(labels.shape)}, "
            f"expected {tuple(student_logits.shape[:-1])}: one class per sample"
        )
    return loss + (1 - weight) * functional.cross_entropy(student, labels.reshape(-1))


def feature_loss(student: Tensor, teacher: Tensor, projection: nn.Module | None = None) -> Tensor:
    """Mean squared distance of a student's features from a teacher's; a hint on the way.

    Features are those of any two layers, collected with `features_of`. No gradient flows to the
    teacher. Add it, with a weight, to `distillation_loss`.

    Source: FitNets, Romero et al., ICLR 2015 (arXiv:1412.6550).

    Args:
        student: (..., width).
        teacher: (..., width of the teacher).
        projection: takes the student's width to the teacher's, such as ``nn.Linear(4, 16)``; train
            it with the student and leave it out afterwards. Needed where the widths differ.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> feature_loss(torch.zeros(2, 3), torch.ones(2, 3))
        tensor(1.)
    """
    projected = student if projection is None else projection(student)
    if projected.shape != teacher.shape:
        hint = "" if projection is not None else "; pass a projection, such as nn.Linear"
        raise ValueError(
            f"features have the shapes {tuple(projected.shape)} (student) and "
            f"{tuple(teacher.shape)} (teacher){hint}"
        )
    return functional.mse_loss(projected, teacher.detach())


@contextmanager
def features_of(model: nn.Module, *names: str) -> Iterator[dict[str, Tensor]]:
    """Collect what some modules return, by name, while the model runs inside the block.

    Args:
        model: any model.
        names: of modules in it, each of which returns a tensor. The last call counts.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> with features_of(net, "0") as features:
        ...     _ = net(torch.zeros(5, 4))
        >>> features["0"].shape
        torch.Size([5, 3])
    """
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            raise ValueError(f"the model has no module {name!r}{nearest(name, modules)}")
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, args, output: found.__setitem__(name, output)

    hooks = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield found
    finally:
        for handle in hooks:
            handle.remove()
