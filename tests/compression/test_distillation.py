import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional

from nisqkit.compression.distillation import distillation_loss, feature_loss, features_of


def logits(seed: int, *shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


STUDENT, TEACHER = logits(0, 6, 3), logits(1, 6, 3)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_definition(weight: float, temperature: float) -> None:
    student, teacher = STUDENT.numpy(), TEACHER.numpy()
    q = log_softmax(student / temperature, axis=-1)
    p = log_softmax(teacher / temperature, axis=-1)
    divergence = (np.exp(p) * (p - q)).sum(-1).mean()
    cross_entropy = -log_softmax(student, axis=-1)[np.arange(6), LABELS.numpy()].mean()
    found = distillation_loss(STUDENT, TEACHER, LABELS, weight=weight, temperature=temperature)
    expected = weight * temperature**2 * divergence + (1 - weight) * cross_entropy
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_a_student_like_its_teacher_loses_nothing() -> None:
    # Logits that differ by a constant per sample are the same distribution.
    shifted = TEACHER + logits(2, 6, 1)
    assert distillation_loss(shifted, TEACHER, weight=1.0).item() == pytest.approx(0, abs=1e-12)
    assert distillation_loss(STUDENT, TEACHER, weight=1.0) > 0.1


def test_gradient() -> None:
    student = STUDENT.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, TEACHER, LABELS), (student,))
    temperature = 3.0
    loss = distillation_loss(student, TEACHER, weight=1.0, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, student)
    difference = (STUDENT / temperature).softmax(-1) - (TEACHER / temperature).softmax(-1)
    assert torch.allclose(gradient, temperature * difference / 6, atol=1e-14)


def test_high_temperatures_match_logits() -> None:
    # Hinton et al., equation 4: the gradient tends to (student - teacher) / classes per sample, for
    # logits of mean 0. It neither vanishes nor grows with T, which is what T**2 is for.
    student = (STUDENT - STUDENT.mean(-1, keepdim=True)).requires_grad_()
    teacher = TEACHER - TEACHER.mean(-1, keepdim=True)
    distillation_loss(student, teacher, weight=1.0, temperature=1e4).backward()
    assert student.grad is not None
    assert torch.allclose(student.grad, (student.detach() - teacher) / 3 / 6, atol=1e-3)


def test_the_teacher_is_not_trained() -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    distillation_loss(student, teacher, LABELS).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_labels_alone_are_the_cross_entropy() -> None:
    found = distillation_loss(STUDENT, TEACHER, LABELS, weight=0.0)
    assert torch.allclose(found, functional.cross_entropy(STUDENT, LABELS), atol=1e-14)


def test_labels_have_no_part_with_weight_1() -> None:
    with_labels = distillation_loss(STUDENT, TEACHER, LABELS, weight=1.0)
    assert torch.equal(with_labels, distillation_loss(STUDENT, TEACHER, weight=1.0))


def test_extra_leading_dimensions() -> None:
    found = distillation_loss(
        STUDENT.reshape(2, 3, 3), TEACHER.reshape(2, 3, 3), LABELS.reshape(2, 3)
    )
    assert torch.equal(found, distillation_loss(STUDENT, TEACHER, LABELS))


def test_large_logits_stay_finite() -> None:
    student = (1e4 * STUDENT.float()).requires_grad_()
    loss = distillation_loss(student, 1e4 * TEACHER.float(), LABELS)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_bad_weight(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got"):
        distillation_loss(STUDENT, TEACHER, LABELS, weight=weight)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive and finite, got"):
        distillation_loss(STUDENT, TEACHER, LABELS, temperature=temperature)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(6, 3\) \(student\) and \(6, 2\) \(teacher\)"):
        distillation_loss(STUDENT, TEACHER[:, :2], LABELS)
    with pytest.raises(ValueError, match=r"labels have the shape \(5,\), expected \(6,\)"):
        distillation_loss(STUDENT, TEACHER, LABELS[:5])


def test_labels_that_are_missing() -> None:
    with pytest.raises(ValueError, match=r"with weight=0.5 the labels count, too: pass labels"):
        distillation_loss(STUDENT, TEACHER)


def test_features() -> None:
    student, teacher = logits(3, 6, 3).requires_grad_(), logits(4, 6, 3).requires_grad_()
    loss = feature_loss(student, teacher)
    assert loss.item() == pytest.approx(float(((student - teacher) ** 2).mean().detach()))
    loss.backward()
    assert student.grad is not None
    assert torch.allclose(student.grad, 2 * (student - teacher).detach() / 18)
    assert teacher.grad is None
    projection = torch.nn.Linear(3, 5).double()
    feature_loss(student, logits(5, 6, 5), projection).backward()
    assert projection.weight.grad is not None
    with pytest.raises(ValueError, match=r"\(6, 3\) \(student\) and \(6, 5\) \(teacher\); pass a"):
        feature_loss(student, logits(5, 6, 5))


def test_features_are_those_that_pass() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.rand(5, 3)
    with features_of(net, "1") as features:
        net(x)
    assert torch.equal(features["1"], net[1](net[0](x)))
    features.clear()
    net(x)
    assert features == {}  # outside of the block nothing is collected
    with (
        pytest.raises(ValueError, match="the model has no module '3'"),
        features_of(net, "3"),
    ):
        pass
