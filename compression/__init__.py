"""Compression of a model: distillation, supernets, training with little memory.

Modules that are not named here are imported by their own names, such as
``nisqkit.compression.update_policy``; ``docs/supernets.md`` shows how.
"""

if __name__ != "nisqkit.compression":
    raise ImportError(f"import nisqkit.compression, not {__name__}")

from nisqkit.compression.differentiable_choice import DifferentiableChoice as DifferentiableChoice
from nisqkit.compression.distillation import distillation_loss as distillation_loss
from nisqkit.compression.elastic_net import ElasticNet as ElasticNet
from nisqkit.compression.latency_table import measure_latency as measure_latency
from nisqkit.compression.memory_report import memory_report as memory_report
from nisqkit.compression.patches import Patched as Patched
from nisqkit.compression.rank_fidelity import rank_fidelity as rank_fidelity
from nisqkit.compression.shrinking import train_supernet as train_supernet
from nisqkit.compression.supernet import HybridSupernet as HybridSupernet
from nisqkit.compression.supernet import Supernet as Supernet
from nisqkit.compression.supernet import calibrate as calibrate
