"""Train exactly, then see what two real machines' noise does to the trained circuit.

`Device.load` gives the calibration of a machine on one day, with its two readout errors per qubit.
"""

from nisqkit.noise import Device
from nisqkit.qml import TrainConfig, train
from nisqkit.qml.evaluation import evaluate_everywhere
from nisqkit.qml.models import with_backend

result = train(TrainConfig(task="digits2", depth=2, epochs=10, seed=0))
devices = [Device.load("fake_santiago"), Device.load("fake_yorktown")]

# Noise-free, then on each device: exact expectation values first, then 200 shots per circuit.
exact = list(evaluate_everywhere(result.model, result.dataset, devices))
sampled = list(evaluate_everywhere(result.model, result.dataset, devices, shots=200))
for evaluation in exact + sampled[1:]:  # noise-free values are always exact
    low, high = evaluation.interval
    values = "exact values" if evaluation.shots is None else f"{evaluation.shots} shots"
    print(
        f"{evaluation.condition}, {values}: accuracy {evaluation.accuracy:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}), loss {evaluation.loss:.3f}"
    )

# The same layer on the device: the same weights, and the circuit as the machine gets it.
noisy = with_backend(result.model, "aer", noise=devices[0])
print(noisy)
