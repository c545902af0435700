"""Models to train: loading your own, moving any to a device, and telling which one it is."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nisqkit.circuits.names import unknown
from nisqkit.noise.device import Device
from nisqkit.noise.mitigation.base import Mitigator
from nisqkit.noise.model import NoiseModel
from nisqkit.qml.classifiers import CIRCUITS as CIRCUITS
from nisqkit.qml.classifiers import GroupSum as GroupSum
from nisqkit.qml.classifiers import classifier as classifier
from nisqkit.qml.classifiers import classifier_circuit as classifier_circuit
from nisqkit.qml.injection import Injection
from nisqkit.qml.layer import QuantumLayer
from nisqkit.qml.post_measurement_norm import freeze_statistics


def load_function(spec: str) -> Callable[..., object]:
    """Find the function that ``"module:function"`` or ``"path/file.py:function"`` names.

    Raises:
        ValueError: not of this form, the file's code fails, or there is no such function.
        FileNotFoundError: there is no such file.
        ImportError: there is no such module, or the file imports one that is not there.

    Example:
        >>> load_function("nisqkit.qml.models:classifier").__name__
        'classifier'
    """
    where, colon, name = spec.rpartition(":")
    if not (where and colon and name):
        raise ValueError(
            f"model={spec!r} must be 'module:function' or 'path/file.py:function', where the "
            "function takes (num_features, num_classes) and returns a torch.nn.Module"
        )
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise FileNotFoundError(f"model={spec!r}: there is no file {where}")
        found = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        with _in_one_line(spec, "imported"):
            found.loader.exec_module(module)
    else:
        # Modules in the current folder are found too, as with `python -m`.
        sys.path.insert(0, "")
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{where}.".startswith(f"{error.name}."):
                raise  # the module exists, but something that it imports does not
            raise ImportError(
                f"model={spec!r}: there is no module {where!r}; is it installed, or in the current "
                "folder? For a file write 'path/file.py:function'"
            ) from error
        finally:
            sys.path.remove("")
    function = getattr(module, name, None)
    if not callable(function):
        functions = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise ValueError(unknown(f"function of {where}", name, functions))
    return function  # type: ignore[no-any-return]


@contextmanager
def _in_one_line(spec: str, what: str) -> Iterator[None]:
    """Name the user's function in whatever its code raises; a missing module stays one."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ValueError(
            f"model={spec!r} failed when {what}: {type(error).__name__}: {text}. The function "
            "takes (num_features, num_classes), and its model maps (batch, num_features) to "
            "(batch, num_classes)"
        ) from error


def load_model(spec: str, num_features: int, num_classes: int) -> nn.Module:
    """Build a user's model and check that it is one.

    Raises:
        ValueError: the function or its model fails; what it returns is no `torch.nn.Module`, has
            nothing to train, or does not map ``(2, num_features)`` to ``(2, num_classes)``; or as
            in `load_function`.

    Example:
        >>> load_model("torch.nn:Linear", num_features=16, num_classes=4)
        Linear(in_features=16, out_features=4, bias=True)
    """
    function = load_function(spec)
    with _in_one_line(spec, f"called with ({num_features}, {num_classes})"):
        model = function(num_features, num_classes)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model={spec!r} returned {type(model).__name__}, expected a torch.nn.Module"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"model={spec!r} has no parameters to train")
    tried, samples = copy.deepcopy(model).eval(), torch.zeros(2, num_features)
    with torch.no_grad(), _in_one_line(spec, f"run on 2 samples of {num_features} features"):
        freeze_statistics(tried, samples)
        shape = tuple(tried(samples).shape)
    model.train()
    if shape != (2, num_classes):
        raise ValueError(
            f"model={spec!r} maps 2 samples of {num_features} features to the shape {shape}, "
            f"expected (2, {num_classes}): one logit per class"
        )
    return model


def quantum_layers(model: nn.Module) -> dict[str, QuantumLayer]:
    """All quantum layers of a model, by the name of the submodule (``""`` is the model itself)."""
    return {name: m for name, m in model.named_modules() if isinstance(m, QuantumLayer)}


def with_backend(
    model: nn.Module,
    backend: str,
    noise: Device | NoiseModel | None = None,
    shots: int | None = None,
    *,
    layout: Sequence[int] | None = None,
    mitigation: Mitigator | Sequence[Mitigator] | None = None,
    inject: str | Injection | None = None,
) -> nn.Module:
    """Copy a model so that all its quantum layers run elsewhere, such as on a noisy device.

    Args:
        model: any module with quantum layers; it is left as it is.
        backend: as in `QuantumLayer`.
        noise: as in `QuantumLayer`.
        shots: as in `QuantumLayer`.
        layout: as in `QuantumLayer`; None: layers keep theirs if this noise is of the same device.
        mitigation: as in `QuantumLayer`.
        inject: as in `QuantumLayer`.

    Raises:
        ValueError: the model has no quantum layer, so a device would change nothing.

    Example:
        >>> model = classifier(16, 4, depth=1, seed=0)
        >>> noisy = with_backend(model, "aer", noise=Device.load("fake_santiago"))
    """
    result = copy.deepcopy(model)
    if not quantum_layers(result):
        raise ValueError(
            f"the model ({type(model).__name__}) has no QuantumLayer, so backend={backend!r} and a "
            "device would change nothing: leave them out"
        )
    moved: dict[nn.Module, QuantumLayer] = {}
    # A layer that is used in two places has two names, and stays one layer.
    for name, layer in list(result.named_modules(remove_duplicate=False)):
        if not isinstance(layer, QuantumLayer):
            continue
        if layer not in moved:
            moved[layer] = layer.with_backend(
                backend,
                noise=noise,
                layout=kept_layout(layer, noise) if layout is None else layout,
                shots=shots,
                mitigation=mitigation,
                inject=inject,
            )
        if name == "":
            return moved[layer]
        parent, _, child = name.rpartition(".")
        setattr(result.get_submodule(parent), child, moved[layer])
    return result


def kept_layout(layer: QuantumLayer, noise: Device | NoiseModel | None) -> tuple[int, ...] | None:
    """The layout of a layer, if this noise is of the device that it belongs to."""
    before, now = (
        given.device if isinstance(given, NoiseModel) else given
        for given in (layer.execution.noise, noise)
    )
    return layer.execution.layout if now is not None and now == before else None


def count_parameters(model: nn.Module) -> int:
    """How many numbers are trained.

    Example:
        >>> count_parameters(nn.Linear(2, 3))
        9
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def describe(model: nn.Module) -> str:
    """Say in one line what a model is, with the `fingerprint` that identifies it.

    Example:
        >>> describe(nn.Linear(2, 3)).split(", fingerprint")[0]
        'Linear with 9 parameters'
    """
    programs = ", ".join(repr(layer.program) for layer in quantum_layers(model).values())
    with_circuit = f", {programs}" if programs else ""
    return (
        f"{type(model).__name__} with {count_parameters(model)} parameters{with_circuit}, "
        f"fingerprint {fingerprint(model)}"
    )


def structure(model: nn.Module) -> dict[str, str]:
    """Describe every part of a model, by name: the modules, the circuits, the shapes of parameters.

    Models with equal structures can exchange weights. The weights' values, the backend and the
    noise do not count. What a ``forward`` of your own does between its modules is not seen.

    Example:
        >>> structure(nn.Sequential(nn.Tanh()))
        {'model': 'Sequential()', '0': 'Tanh()'}
    """
    parts: dict[str, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantumLayer):
            parts[name or "model"] = f"QuantumLayer({module.program!r}, {_circuit_key(module)})"
        else:
            parts[name or "model"] = f"{type(module).__name__}({module.extra_repr()})"
    shapes = {f"{k}, shape": str(tuple(value.shape)) for k, value in model.state_dict().items()}
    return parts | shapes


def fingerprint(model: nn.Module) -> str:
    """Identify a model's `structure`: its modules, its circuits gate by gate, and its shapes.

    Example:
        >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3))
        True
        >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(3, 2))
        False
    """
    return _key("\n".join(f"{name}: {what}" for name, what in structure(model).items()))


def _circuit_key(layer: QuantumLayer) -> str:
    program = layer.program
    gates = [(use.name, use.qubits, use.slots, use.matrix) for use in program.gates]
    angles = program.angle_map
    formulas = None if angles.nonlinear is None else (angles.nonlinear.slots, angles.nonlinear.key)
    return _key(
        repr((program.num_qubits, gates, program.prepare, angles.inputs, angles.weights))
        + repr((angles.constants, angles.terms, formulas, layer.observables))
    )


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
