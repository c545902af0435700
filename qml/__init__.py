"""Quantum machine learning: circuits as PyTorch layers, their training and their evaluation."""

if __name__ != "nisqkit.qml":
    raise ImportError(f"import nisqkit.qml, not {__name__}")

from nisqkit.qml.config import TrainConfig as TrainConfig
from nisqkit.qml.datasets import available_datasets as available_datasets
from nisqkit.qml.datasets import load_dataset as load_dataset
from nisqkit.qml.injection import InjectAngles as InjectAngles
from nisqkit.qml.injection import InjectExact as InjectExact
from nisqkit.qml.injection import InjectGates as InjectGates
from nisqkit.qml.injection import InjectOutcomes as InjectOutcomes
from nisqkit.qml.layer import QuantumLayer as QuantumLayer
from nisqkit.qml.models import classifier as classifier
from nisqkit.qml.native_layer import native_layer as native_layer
from nisqkit.qml.noise_schedule import set_noise_factor as set_noise_factor
from nisqkit.qml.post_measurement_norm import PostMeasurementNorm as PostMeasurementNorm
from nisqkit.qml.post_measurement_norm import freeze_statistics as freeze_statistics
from nisqkit.qml.post_measurement_quantize import (
    PostMeasurementQuantize as PostMeasurementQuantize,
)
from nisqkit.qml.post_measurement_quantize import centroid_losses as centroid_losses
from nisqkit.qml.runs import load_run as load_run
from nisqkit.qml.training import train as train
