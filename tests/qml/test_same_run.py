"""Of models and data, see the tests of `fit`."""

import pytest
import torch

from nisqkit.qml.same_run import check_same_teacher, teacher_fingerprint


def test_a_teacher_is_its_outputs() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    checkpoint = {"teacher": teacher_fingerprint(logits)}
    check_same_teacher(checkpoint, logits.clone(), "run/checkpoint.pt")
    with pytest.raises(ValueError, match=r"run/checkpoint\.pt was trained with other outputs"):
        check_same_teacher(checkpoint, logits + 1e-6, "run/checkpoint.pt")


def test_runs_without_a_teacher_need_no_mark() -> None:
    check_same_teacher({}, None, "run")  # as older checkpoints
    check_same_teacher({"teacher": None}, None, "run")
    # a finished run does not ask its teacher again
    check_same_teacher({"teacher": "0123456789abcdef"}, None, "run")
