import pytest
import torch
from torch import nn

from nisqkit.compression.layers import (
    batches,
    by_layer,
    compressible_layers,
    copied,
    find_layers,
    group_of,
    kept_parts,
    replace_modules,
)
from nisqkit.search import Ordered

from .models import hybrid


def test_the_inside_of_circuits_and_attention_is_left_alone() -> None:
    model = hybrid()
    assert list(compressible_layers(model)) == ["0", "4", "6", "8"]
    assert list(kept_parts(model)) == ["7"]
    attention = nn.Sequential(nn.MultiheadAttention(4, 2), nn.TransformerEncoderLayer(4, 2, 8))
    assert compressible_layers(attention) == {}


def test_supernets_are_kept_whole() -> None:
    class Supernet(nn.Linear):
        def __space__(self) -> Ordered:
            return Ordered([1, 2])

    assert compressible_layers(nn.Sequential(Supernet(2, 2), nn.Linear(2, 2))).keys() == {"1"}


def test_a_shared_layer_is_listed_once_and_replaced_everywhere() -> None:
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(compressible_layers(model)) == ["0"]
    new = nn.Linear(3, 3)
    replace_modules(model, {"0": new})
    assert model[0] is new and model[2] is new


def test_names_that_are_wrong() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "rnn": nn.GRU(2, 2), "q": hybrid()[7]})
    with pytest.raises(ValueError, match=r"the policy names 'encodr', .*did you mean 'encoder'"):
        find_layers(model, ["encodr"], "the policy")
    with pytest.raises(ValueError, match=r"names 'rnn', but a GRU cannot be compressed; .*leave"):
        find_layers(model, ["rnn"], "the policy")
    with pytest.raises(ValueError, match=r"names 'q', but a QuantumLayer .* kept whole: leave it"):
        find_layers(model, ["q"], "the policy")


def test_spaces_are_nested_as_names_are() -> None:
    names = ["encoder.0", "encoder.block.conv", "head"]
    space = group_of(dict.fromkeys(names, Ordered([1, 2])))
    assert space.size() == 8
    assert by_layer(space.repair({})) == dict.fromkeys(names, 1)
    with pytest.raises(ValueError, match="there is no layer to compress"):
        group_of({})
    with pytest.raises(ValueError, match=r"wrap it in nn.Sequential"):
        group_of({"": Ordered([1])})


def test_data() -> None:
    x = torch.rand(4, 2)
    assert torch.equal(batches([(x, torch.zeros(4))])[0][0], x)
    for nothing in ([], torch.zeros(0, 2), [torch.zeros(0, 2)]):
        with pytest.raises(ValueError, match=r"calibration needs data: .* got none"):
            batches(nothing)


def test_no_module() -> None:
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, not str"):
        copied("model")  # type: ignore[arg-type]
