from pathlib import Path

import pytest
import torch
from torch import nn

from nisqkit.noise.device import Device
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.models import (
    CIRCUITS,
    GroupSum,
    classifier,
    classifier_circuit,
    count_parameters,
    describe,
    fingerprint,
    load_function,
    load_model,
    quantum_layers,
    with_backend,
)


def test_two_classes_are_sums_of_qubit_pairs() -> None:
    model = classifier(16, 2, depth=1, seed=0)
    x = torch.rand(5, 16)
    z = model[0](x)
    expected = torch.stack([z[:, 0] + z[:, 1], z[:, 2] + z[:, 3]], dim=1)
    assert torch.equal(model(x), expected)


def test_four_classes_are_the_expectation_values() -> None:
    model = classifier(16, 4, depth=1, seed=0)
    x = torch.rand(5, 16)
    assert torch.equal(model(x), model[0](x))


def test_extra_leading_dimensions_are_kept() -> None:
    assert GroupSum(6, 3)(torch.zeros(2, 5, 6)).shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("features", "classes", "qubits", "width"),
    [
        (16, 4, None, 4),  # 4x4_ryzxy
        (16, 2, None, 4),
        (36, 10, None, 10),  # 6x6_ryzxy
        (10, 4, None, 4),  # 10_ryzx
        (16, 10, None, 10),  # the published encoder has too few qubits for ten classes
        (7, 3, None, 6),
        (16, 4, 8, 8),
        (2, 5, None, 5),
    ],
)
def test_encoder_by_number_of_features(
    features: int, classes: int, qubits: int | None, width: int
) -> None:
    circuit = classifier_circuit(features, classes, depth=1, qubits=qubits)
    assert circuit.num_qubits == width
    assert sum(p.name.startswith("x") for p in circuit.parameters) == features


def test_published_encoder_order() -> None:
    """16 features: RY, RZ, RX, RY on four qubits, before every weight."""
    circuit = classifier_circuit(16, 4, depth=1)
    first = [circuit.data[k] for k in range(16)]
    assert [i.operation.name for i in first[::4]] == ["ry", "rz", "rx", "ry"]
    assert [i.operation.params[0].index for i in first] == list(range(16))


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_circuit_trains(name: str) -> None:
    model = classifier(10, 4, name, depth=1, seed=0)
    model(torch.rand(3, 10)).square().sum().backward()
    gradient = model.get_parameter("0.weights").grad
    assert gradient is not None
    assert gradient.abs().max() > 1e-4


def test_u3_has_no_entangling_gate() -> None:
    circuit = classifier_circuit(16, 4, "u3", depth=3)
    assert all(len(instruction.qubits) == 1 for instruction in circuit.data)


def test_the_seed_decides_the_weights() -> None:
    a, b, c = (classifier(16, 4, seed=s).get_parameter("0.weights") for s in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_fingerprints_tell_circuits_apart_and_ignore_weights() -> None:
    same = {fingerprint(classifier(16, 4, seed=seed)) for seed in range(3)}
    others = {
        fingerprint(classifier(16, 4, "u3", seed=0)),
        fingerprint(classifier(16, 4, depth=3, seed=0)),
        fingerprint(classifier(16, 4, "strongly-entangling", depth=4, seed=0)),
        fingerprint(nn.Linear(16, 4)),
    }
    assert len(same) == 1
    assert len(same | others) == 5


def test_fingerprints_see_modules_without_parameters_and_their_options() -> None:
    first = nn.Linear(2, 2)
    between = [nn.Tanh(), nn.ReLU(), nn.Dropout(0.1), nn.Dropout(0.2), nn.Identity()]
    models = [nn.Sequential(first, module, nn.Linear(2, 2)) for module in between]
    assert len({fingerprint(model) for model in models}) == len(models)


def test_a_fingerprint_is_the_same_on_every_backend() -> None:
    model = classifier(16, 4, depth=1, seed=0)
    assert fingerprint(with_backend(model, "reference")) == fingerprint(model)


def test_with_backend_replaces_every_layer_and_keeps_the_original() -> None:
    inner = classifier(4, 4, depth=1, qubits=4, seed=0)
    model = nn.Sequential(nn.Linear(16, 4), inner, nn.ReLU())
    noisy = with_backend(model, "aer", noise=Device.load("fake_manila"))
    assert [layer.backend.name for layer in quantum_layers(noisy).values()] == ["aer"]
    assert [layer.backend.name for layer in quantum_layers(model).values()] == ["native"]
    assert noisy.state_dict().keys() == model.state_dict().keys()


def test_with_backend_on_a_bare_layer() -> None:
    layer = classifier(4, 4, depth=1, qubits=4, seed=0)[0]
    other = with_backend(layer, "reference")
    assert isinstance(other, QuantumLayer)
    x = torch.rand(3, 4)
    assert torch.allclose(other(x), layer(x), atol=1e-5)


def test_a_layer_in_two_places_moves_in_both() -> None:
    layer = classifier(4, 4, depth=1, qubits=4, seed=0)[0]
    moved = with_backend(nn.Sequential(layer, nn.Tanh(), layer), "reference")
    assert isinstance(moved, nn.Sequential)
    assert moved[0] is moved[2]
    first = moved[0]
    assert isinstance(first, QuantumLayer)
    assert first.backend.name == "reference"


def test_with_backend_without_a_quantum_layer() -> None:
    with pytest.raises(ValueError, match=r"the model \(Linear\) has no QuantumLayer"):
        with_backend(nn.Linear(2, 2), "aer", noise=Device.load("fake_manila"))


def test_describe_says_circuit_and_size() -> None:
    text = describe(classifier(16, 4, depth=1, seed=0))
    assert "24 parameters" in text
    assert "4 qubits" in text
    assert count_parameters(classifier(16, 4, depth=1, seed=0)) == 24


def test_groups_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match=r"4 outputs .* groups for 3 classes: use a multiple"):
        GroupSum(4, 3)
    with pytest.raises(ValueError, match=r"3 outputs .* such as 4 \(--qubits 4\)"):
        classifier(3, 2, qubits=3)
    with pytest.raises(ValueError, match=r"8 outputs .* 3 classes: .* such as 9 \(--qubits 9\)"):
        classifier(16, 3, qubits=8)
    with pytest.raises(ValueError, match=r"4 outputs .* 10 classes"):
        classifier(16, 10, qubits=4)


def test_group_sum_checks_its_input() -> None:
    with pytest.raises(ValueError, match="got 3 outputs, expected 4"):
        GroupSum(4, 2)(torch.zeros(1, 3))


def test_unknown_circuit() -> None:
    with pytest.raises(ValueError, match=r"unknown circuit 'u3-cu2'; did you mean 'u3-cu3'\?"):
        classifier(16, 4, "u3-cu2")


def test_one_class() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        classifier(16, 1)


# --- models of the user's own ---

FILE = """
from torch import nn

def build(num_features, num_classes):
    return nn.Linear(num_features, num_classes)

def number(num_features, num_classes):
    return 3

def frozen(num_features, num_classes):
    return nn.Softmax(dim=1)

def arity(num_features):
    return nn.Linear(num_features, 2)

def misfit(num_features, num_classes):
    return nn.Linear(num_features + 1, num_classes)

def wide(num_features, num_classes):
    return nn.Linear(num_features, num_classes + 1)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    file = tmp_path / "own_models.py"
    file.write_text(FILE)
    return file


def test_a_model_from_a_file(models: Path) -> None:
    assert load_model(f"{models}:build", 3, 2).get_parameter("weight").shape == (2, 3)


def test_a_model_from_a_module_in_the_current_folder(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models.parent)
    assert load_model("own_models:build", 3, 2).get_parameter("weight").shape == (2, 3)


@pytest.mark.parametrize("spec", ["build", "models.py", ":build", "models.py:"])
def test_a_model_of_the_wrong_form(spec: str) -> None:
    with pytest.raises(ValueError, match=r"must be 'module:function' or 'path/file.py:function'"):
        load_function(spec)


def test_a_model_that_is_not_there(models: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.py"):
        load_function("nowhere.py:build")
    with pytest.raises(ImportError, match="there is no module 'nowhere_at_all'"):
        load_function("nowhere_at_all:build")
    with pytest.raises(ValueError, match=r"unknown function .* 'biuld'; did you mean 'build'\?"):
        load_function(f"{models}:biuld")


def test_a_model_whose_file_lacks_a_module(models: Path) -> None:
    models.write_text("import nowhere_at_all")
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
        load_function(f"{models}:build")


def test_a_file_whose_code_fails(models: Path) -> None:
    models.write_text("x = 1 / 0")
    with pytest.raises(ValueError, match="failed when imported: ZeroDivisionError: division"):
        load_function(f"{models}:build")
    models.write_text("def build(:")
    with pytest.raises(ValueError, match="failed when imported: SyntaxError: "):
        load_function(f"{models}:build")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("arity", r"py:arity' failed when called with \(3, 2\): TypeError: arity\(\) takes 1 pos"),
        ("misfit", "py:misfit' failed when run on 2 samples of 3 features: RuntimeError: mat1"),
        ("number", "returned int, expected a torch.nn.Module"),
        ("frozen", "has no parameters to train"),
        ("wide", r"to the shape \(2, 3\), expected \(2, 2\): one logit per class"),
    ],
)
def test_a_model_that_cannot_be_trained(models: Path, function: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(f"{models}:{function}", 3, 2)
