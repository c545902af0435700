"""QuantumNAT from its parts: a network of two circuits, trained against the noise of a device.

Between the circuits the measured values are normalised over the batch, which cancels whatever noise
scales or shifts them, and rounded to a few levels, which removes what is left of it. In training,
random Pauli errors of the device follow the gates; in evaluation mode the same layers compute what
the device would return.
"""

import torch
from torch.nn.functional import cross_entropy

from nisqkit.circuits import angle, encoder, u3_cu3
from nisqkit.noise import Device
from nisqkit.qml import (
    InjectGates,
    PostMeasurementNorm,
    PostMeasurementQuantize,
    QuantumLayer,
    centroid_losses,
    freeze_statistics,
    load_dataset,
)

device = Device.load("fake_yorktown")
data = load_dataset("digits4", seed=0)
x_train, y_train = data.train.tensors()
x_valid, _ = data.valid.tensors()
x_test, y_test = data.test.tensors()

first = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))  # 16 features on 4 qubits
second = angle(4).compose(u3_cu3(4, blocks=1))  # RY(value) of each qubit measured before
inject = InjectGates(factor=1.5)  # the device's Pauli errors, half as many again
model = torch.nn.Sequential(
    QuantumLayer(first, inputs="x", noise=device, inject=inject, seed=0),
    PostMeasurementNorm(4),
    PostMeasurementQuantize(levels=5),
    QuantumLayer(second, inputs="x", noise=device, inject=inject, seed=1),
)
print(model)

torch.manual_seed(0)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(20):
    for rows in torch.randperm(len(x_train)).split(64):
        optimizer.zero_grad()
        with centroid_losses(model) as losses:
            logits = model(x_train[rows])
        # The second term draws the measured values towards the levels.
        (cross_entropy(logits, y_train[rows]) + 0.1 * sum(losses)).backward()
        optimizer.step()

# What the normalisation uses from here on is measured once, on the device, without labels.
model.eval()
freeze_statistics(model, x_valid)
with torch.no_grad():
    accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean()
print(f"on {device.name}: accuracy {accuracy:.1%}")
