"""TorchQuantum-NG: one module with parameters of its own per gate."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from unittest.mock import MagicMock

import torch
from torch import Tensor

from peers.torch_step import TorchStep, fill

try:
    import torchvision  # noqa: F401 (only to see whether it loads)
except Exception:
    # It is needed for data sets only; a build that does not match torch's CPU build fails to load.
    class _Stub(types.ModuleType):
        __path__: list[str] = []  # noqa: RUF012 (a module's)

        def __getattr__(self, name: str) -> MagicMock:
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock()

    for part in ("", ".transforms", ".transforms.functional", ".utils", ".datasets"):
        sys.modules[f"torchvision{part}"] = _Stub(f"torchvision{part}")
    for part in ("utils", "vision", "folder"):
        sys.modules[f"torchvision.datasets.{part}"] = _Stub(f"torchvision.datasets.{part}")

import torchquantum as tq


class Step(TorchStep):
    """An encoder for the inputs, then the gates' modules in turn."""

    def build(self) -> None:
        """See `TorchStep`."""
        kinds = {"rx": tq.RX, "ry": tq.RY, "rz": tq.RZ, "u3": tq.U3, "cu3": tq.CU3, "cx": tq.CNOT}
        encoder, self.gates = [], []
        for gate in self.workload.gates:
            wires = list(gate.qubits)
            if gate.source == "x":
                encoder.append({"input_idx": list(gate.columns), "func": gate.name, "wires": wires})
            else:
                trained = gate.source == "w"
                module = kinds[gate.name](has_params=trained, trainable=trained, wires=wires)
                self.gates.append((module, wires))
        self.encoder = tq.GeneralEncoder(encoder)
        self.measure = tq.MeasureAll(tq.PauliZ)
        self.trained = [m.params for m, _ in self.gates if m.params is not None]
        fill(self.trained, self.weights)

    def parameters(self) -> Sequence[Tensor]:
        """See `TorchStep`."""
        return self.trained

    def model(self, inputs: Tensor) -> Tensor:
        """See `TorchStep`."""
        device = tq.QuantumDevice(n_wires=self.workload.qubits, bsz=len(inputs), device="cpu")
        self.encoder(device, inputs)
        for module, wires in self.gates:
            module(device, wires=wires)
        outputs: Tensor = self.measure(device)
        assert isinstance(outputs, torch.Tensor)
        return outputs
