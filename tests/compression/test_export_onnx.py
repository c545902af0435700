# pyright: reportCallIssue=false
# (what compression returns is only known to be a module)

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from nisqkit.compression.channels import prune_channels
from nisqkit.compression.export_onnx import export_onnx
from nisqkit.compression.masks import prune_weights
from nisqkit.compression.quantize import QuantizePolicy, quantize

from .models import hybrid, images


@pytest.mark.slow
def test_a_pruned_and_quantized_hybrid_model(tmp_path: Path) -> None:
    model = prune_channels(hybrid(), {"0": 0.5}, images())
    model = quantize(prune_weights(model, {"4": 0.5}), QuantizePolicy(8, circuits={"7": (6, 32)}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = export_onnx(model, tmp_path / "model.onnx", images())
    assert found.largest_difference < 1e-5
    assert found.artifact_bytes == (tmp_path / "model.onnx").stat().st_size
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # another batch, in another process's engine
    session = onnxruntime.InferenceSession(found.path)
    x = images(17, seed=5)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert torch.allclose(torch.from_numpy(output), model.eval()(x), atol=1e-5)
    kinds = {i.type.tensor_type.elem_type for i in onnx.load(found.path).graph.value_info}
    assert not kinds & {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}


class Wrong(nn.Module):
    """Not what it was when it is asked again."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.onnx.is_in_onnx_export()


class Untold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


def test_what_goes_wrong(tmp_path: Path) -> None:
    x = torch.rand(2, 3, 3)
    with pytest.raises(ValueError, match="differs from the model by 1, and 1e-05 is allowed"):
        export_onnx(Wrong(), tmp_path / "wrong.onnx", x)
    with pytest.raises(ValueError, match="Untold cannot be written as ONNX; its parts must be"):
        export_onnx(Untold(), tmp_path / "untold.onnx", x)
    model = hybrid()
    model[7] = model[7].with_backend("native", shots=10)
    with pytest.raises(ValueError, match=r"'7' \(QuantumLayer\) measures 10 shots"):
        export_onnx(model, tmp_path / "shots.onnx", images())
    with pytest.raises(ValueError, match="needs a batch dimension"):
        export_onnx(nn.Tanh(), tmp_path / "empty.onnx", torch.zeros(0, 3))
