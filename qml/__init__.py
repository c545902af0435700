"""Quantum machine learning: circuits as PyTorch layers, their training and their evaluation."""

if __name__ != "nisqkit.qml":
    raise ImportError(f"import nisqkit.qml, not {__name__}")

from nisqkit.qml.config import TrainConfig as TrainConfig
from nisqkit.qml.datasets import available_datasets as available_datasets
from nisqkit.qml.datasets import load_dataset as load_dataset
from nisqkit.qml.layer import QuantumLayer as QuantumLayer
from nisqkit.qml.models import classifier as classifier
from nisqkit.qml.runs import load_run as load_run
from nisqkit.qml.training import train as train
