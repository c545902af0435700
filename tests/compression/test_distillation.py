"""The distillation loss is Hinton's, and teaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy
from torch.nn.functional import cross_entropy

from nisqkit.compression import distillation_loss

RANDOM = np.random.default_rng(2)
STUDENT, TEACHER = (torch.from_numpy(RANDOM.normal(size=(6, 3))) for _ in range(2))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_definition(weight: float, temperature: float) -> None:
    p = softmax(TEACHER.numpy() / temperature, axis=1)
    q = softmax(STUDENT.numpy() / temperature, axis=1)
    hard = -log_softmax(STUDENT.numpy(), axis=1)[np.arange(6), LABELS].mean()
    expected = weight * temperature**2 * entropy(p, q, axis=1).mean() + (1 - weight) * hard
    found = distillation_loss(STUDENT, TEACHER, LABELS, weight=weight, temperature=temperature)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_gradients_are_right_and_none_reaches_the_teacher() -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, TEACHER, LABELS), student)
    distillation_loss(student, teacher, LABELS).backward()
    assert teacher.grad is None


def test_a_student_reaches_its_teacher() -> None:
    student = STUDENT.clone().requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        distillation_loss(student, TEACHER, weight=1.0).backward()
        optimizer.step()
    assert torch.allclose(student.softmax(1), TEACHER.softmax(1), atol=1e-3)


def test_without_a_teacher_it_is_the_cross_entropy() -> None:
    found = distillation_loss(STUDENT, TEACHER, LABELS, weight=0.0)
    assert found.item() == pytest.approx(cross_entropy(STUDENT, LABELS).item())


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(6, 3\) and the teacher's \(5, 3\)"):
        distillation_loss(STUDENT, TEACHER[:5], LABELS)
    with pytest.raises(ValueError, match="weight=2 must be between 0"):
        distillation_loss(STUDENT, TEACHER, LABELS, weight=2)
    with pytest.raises(ValueError, match="temperature=0 must be a positive number"):
        distillation_loss(STUDENT, TEACHER, LABELS, temperature=0)
    with pytest.raises(ValueError, match="labels count: give them, or weight=1"):
        distillation_loss(STUDENT, TEACHER)
