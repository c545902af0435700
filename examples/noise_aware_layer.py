"""Train on a device's noise, and compare with noise-free training, both judged on that device.

The noise is that of a real machine's calibration: every gate, T1, T2 and both readout errors.
Values and gradients are exact (density matrices); no shots are drawn.
"""

import torch
from torch.nn.functional import cross_entropy

from nisqkit.circuits import encoder, u3_cu3
from nisqkit.noise import Device
from nisqkit.qml import QuantumLayer, load_dataset

device = Device.load("fake_belem")
data = load_dataset("digits4", seed=0)
x_train, y_train = data.train.tensors()
x_test, y_test = data.test.tensors()
circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=2))


def trained(layer: QuantumLayer) -> QuantumLayer:
    """Train a layer with the same batches, whatever it runs on."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(15):
        for rows in torch.randperm(len(x_train)).split(32):
            optimizer.zero_grad()
            cross_entropy(layer(x_train[rows]), y_train[rows]).backward()
            optimizer.step()
    return layer


# The circuit is transpiled for the device once. The weights are still those of the circuit above,
# so that the same layer can go to any other device or simulator later.
noise_free = trained(QuantumLayer(circuit, inputs="x", seed=0))
noise_aware = trained(QuantumLayer(circuit, inputs="x", seed=0, noise=device))
print(noise_aware)

for name, layer in [("noise-free", noise_free), ("noise-aware", noise_aware)]:
    on_device = layer.with_backend("native", noise=device)
    with torch.no_grad():
        outputs = on_device(x_test)
    accuracy = (outputs.argmax(dim=1) == y_test).float().mean()
    loss = cross_entropy(outputs, y_test)
    print(f"{name} training, on {device.name}: accuracy {accuracy:.1%}, loss {loss:.3f}")
