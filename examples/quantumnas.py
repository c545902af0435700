"""A circuit and its qubits, searched for a noisy device.

One SuperCircuit is trained: its sub-circuits share their weights. Then an evolutionary search
scores sub-circuits on qubits of the device by their exact noisy loss, under a hard budget of gates,
and the winner is trained from scratch. `nisqkit search` does the same with checkpoints, workers and
a report.
"""

import torch

from nisqkit.circuits import encoder
from nisqkit.circuits.design_spaces import DesignSpace
from nisqkit.noise import Device
from nisqkit.qml import TrainConfig, load_dataset
from nisqkit.qml.classifiers import GroupSum
from nisqkit.qml.co_search import CoSearch
from nisqkit.qml.evaluation import evaluate
from nisqkit.qml.fit import fit
from nisqkit.qml.models import with_backend
from nisqkit.qml.super_circuit import SuperCircuit
from nisqkit.search import Study

torch.set_num_threads(1)  # small tensors
data, device = load_dataset("digits4"), Device.load("fake_yorktown")
epochs, steps = 10, -(-len(data.train) // 64)
settings = TrainConfig(epochs=epochs, batch_size=64, lr=0.02, keep="last")

design = DesignSpace("u3cu3", num_qubits=4, blocks=4)
model = SuperCircuit(
    design, encoder("4x4_ryzxy"), head=GroupSum(4, 4), steps=epochs * steps, seed=0
)
fit(model, data, settings)  # another sub-circuit in every step
model.eval()

search = CoSearch.classifying(model, data.valid, device)
study = Study.open(search.problem(budgets=["two_qubit_gates<=20"]), seed=0)
study.run(evaluations=200)
best = study.best
print(f"of {search.space.size():.2g} candidates, {len(study.distinct)} were scored")
print(f"best: qubits {best.value['layout']}, {best.metrics['two_qubit_gates']:.0f} two-qubit gates")

winner = model.extract(best.value["circuit"], inherit=False, seed=0)
fit(winner, data, settings)
noisy = with_backend(winner, "native", noise=device, layout=best.value["layout"])
for name, tested in (("noise-free", winner), (device.name, noisy)):
    print(f"{name}: {evaluate(tested, data.test, data.class_names).accuracy:.1%}")
