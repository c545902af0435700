"""A PennyLane QNode as a layer, unchanged, inside a hybrid model.

The circuit is traced once and runs on the native engine; PennyLane is needed to write it only.
"""

import pennylane as qp
import torch
from torch import nn

from nisqkit.qml import QuantumLayer


@qp.qnode(qp.device("default.qubit", wires=3))
def qnode(inputs, weights):
    """Angles in, three expectation values out."""
    qp.AngleEmbedding(inputs, wires=range(3))
    qp.StronglyEntanglingLayers(weights, wires=range(3))
    return [qp.expval(qp.Z(k)) for k in range(3)]


layer = QuantumLayer(qnode, inputs=3, weight_shapes={"weights": (2, 3, 3)}, seed=0)
x = torch.rand(4, 3)

# The layer computes what PennyLane computes.
weights = layer.weights.detach().reshape(2, 3, 3)
expected = torch.stack([torch.stack(qnode(sample, weights)) for sample in x])
print("largest difference to PennyLane:", (layer(x) - expected).abs().max().item())
assert torch.allclose(layer(x), expected.to(torch.float32), atol=1e-5)

# Between classical layers: a gradient reaches everything, in batches.
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 3), nn.Tanh(), layer, nn.Linear(3, 1))
features, target = torch.rand(64, 5), torch.rand(64, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for step in range(101):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(features), target)
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}: mean squared error {loss:.4f}")
