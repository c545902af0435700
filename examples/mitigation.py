"""Error mitigation on a noisy device: what is gained, what it costs, and that it trains.

Zero-noise extrapolation runs the transpiled circuit with its gates repeated; readout mitigation
undoes the device's two readout errors of each qubit. Both are part of the layer, so that gradients
flow through them.
"""

import torch

from nisqkit.circuits import encoder, u3_cu3
from nisqkit.noise import Device
from nisqkit.noise.mitigation import PEC, ZNE, ReadoutMitigation, stack_cost
from nisqkit.qml import QuantumLayer

device = Device.load("fake_belem")
circuit = encoder("4x4_ryzxy").compose(u3_cu3(4, blocks=1))
layer = QuantumLayer(circuit, inputs="x", noise=device, init="uniform", seed=0)
x = 3 * torch.rand(16, 16)
ideal = layer.with_backend("native")(x)

stacks = {
    "nothing": [],
    "readout": [ReadoutMitigation()],
    "ZNE, linear": [ZNE(extrapolation="linear")],
    "ZNE, Richardson, and readout": [ZNE(), ReadoutMitigation()],
    "PEC and readout": [PEC(50), ReadoutMitigation()],
}
for name, stack in stacks.items():
    values = layer.with_backend("native", noise=device, mitigation=stack)(x)
    error = (values - ideal).abs().mean().item()
    print(f"{name:<30} error {error:.4f}, {stack_cost(stack).circuits:g} circuits per sample")

# Standard errors go through: Richardson's extrapolation pays for its accuracy in shots.
both = [ZNE(), ReadoutMitigation()]
sampled = layer.with_backend("native", noise=device, shots=4000, mitigation=both)
with torch.no_grad():
    result = sampled.estimate(x)
assert result.std is not None  # None for exact values
print(f"with 4000 shots each: standard error {result.std.mean().item():.4f}")

# The same layer trains on mitigated values.
trained = layer.with_backend("native", noise=device, mitigation=both)
optimizer = torch.optim.Adam(trained.parameters(), lr=0.05)
for step in range(10):
    optimizer.zero_grad()
    loss = (trained(x) - 1).square().mean()
    loss.backward()
    optimizer.step()
    if step % 3 == 0:
        print(f"step {step}: loss {loss.item():.4f}")
