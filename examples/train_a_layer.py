"""A circuit as a layer in a plain PyTorch training loop: digits 0 to 3 on four qubits.

The layer is an ordinary `torch.nn.Module`: any optimizer, loss and other layers work with it.
"""

import torch
from torch.nn.functional import cross_entropy

from nisqkit.circuits import encoder, u3_cu3
from nisqkit.qml import QuantumLayer, load_dataset

data = load_dataset("digits4", seed=0)
x_train, y_train = data.train.tensors()  # (504, 16) angles in radians, (504,) class indices
x_test, y_test = data.test.tensors()

# The encoder turns 16 features into rotations; the ansatz has the weights that are trained. Each
# of the four qubits answers for one class, with the expectation value of Z.
circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=4))
layer = QuantumLayer(circuit, inputs="x", seed=0)
print(layer)

optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
torch.manual_seed(0)
for epoch in range(30):
    for rows in torch.randperm(len(x_train)).split(32):
        optimizer.zero_grad()
        loss = cross_entropy(layer(x_train[rows]), y_train[rows])
        loss.backward()
        optimizer.step()
    if (epoch + 1) % 10 == 0:
        with torch.no_grad():
            accuracy = (layer(x_test).argmax(dim=1) == y_test).float().mean()
        print(f"epoch {epoch + 1}: test accuracy {accuracy:.1%}")
