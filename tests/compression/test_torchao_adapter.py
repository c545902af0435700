# pyright: reportIndexIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# (models are indexed here, and what compression returns is only known to be a module)

import pytest
import torch

from nisqkit.compression.torchao_adapter import int8_linear
from nisqkit.search.profile import profile

from .models import hybrid, images


def test_linear_layers_and_no_others() -> None:
    model, x = hybrid().eval(), images()
    small = int8_linear(model)
    assert torch.allclose(small(x), model(x), atol=0.02)
    assert torch.equal(small[0](x), model[0](x))
    assert torch.equal(small[7](torch.ones(2, 4)), model[7](torch.ones(2, 4)))
    before, after = (profile(m, x[:1]).flat() for m in (model, small))
    for name, outputs, inputs in (("4", 20, 128), ("6", 4, 20)):
        assert before[f"{name}.weight_bytes"] == 4 * outputs * (inputs + 1)
        assert after[f"{name}.weight_bytes"] == outputs * inputs + 4 * outputs + 4 * outputs


def test_bad_layers() -> None:
    with pytest.raises(ValueError, match="'0' is a Conv2d, and torchao takes linear layers alone"):
        int8_linear(hybrid(), ["0"])
    with pytest.raises(ValueError, match="layers names 'head'"):
        int8_linear(hybrid(), ["head"])
