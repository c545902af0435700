"""Distillation: a student learns from a teacher's outputs, not only from the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    weight: float = 0.5,
    temperature: float = 2.0,
) -> Tensor:
    """Distance of the student's softened probabilities from the teacher's, and the cross entropy.

    ``weight T^2 KL(softmax(teacher / T) || softmax(student / T)) + (1 - weight) CE(student,
    labels)``, both as means over the batch, in nats. The factor ``T^2`` keeps the size of the
    gradient as T changes. No gradient flows to the teacher.

    Source: Hinton, Vinyals, Dean, arXiv:1503.02531.

    Args:
        student: Logits, shape ``(N, C)``.
        teacher: Logits, the same shape; from any model, such as a noise-free one.
        labels: Class indices, shape ``(N,)``; None only with ``weight=1``.
        weight: Of the teacher, from 0 to 1.
        temperature: T, above 0; higher ones show more of what the teacher thinks of wrong classes.

    Raises:
        ValueError: Different shapes, no labels although they count, or options out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> distillation_loss(logits, logits, weight=1.0).item()
        0.0
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's logits have shape {tuple(student.shape)} and the teacher's "
            f"{tuple(teacher.shape)}: both must classify the same samples into the same classes"
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight} must be between 0 (labels only) and 1 (teacher only)")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature} must be a positive number, such as 2.0")
    if labels is None and weight < 1:
        raise ValueError(f"with weight={weight} labels count: give them, or weight=1")
    soft = kl_div(
        log_softmax(student / temperature, dim=-1),
        log_softmax(teacher.detach() / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    loss = weight * temperature**2 * soft
    return loss if labels is None else loss + (1 - weight) * cross_entropy(student, labels)
