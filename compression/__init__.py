"""Compression of a model: distillation of a teacher into a student."""

if __name__ != "nisqkit.compression":
    raise ImportError(f"import nisqkit.compression, not {__name__}")

from nisqkit.compression.distillation import distillation_loss as distillation_loss
from nisqkit.compression.elastic_net import ElasticNet as ElasticNet
from nisqkit.compression.rank_fidelity import rank_fidelity as rank_fidelity
from nisqkit.compression.supernet import HybridSupernet as HybridSupernet
from nisqkit.compression.supernet import Supernet as Supernet
from nisqkit.compression.supernet import calibrate as calibrate
