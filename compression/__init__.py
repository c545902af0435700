"""Compression of the classical parts of a hybrid model: distillation; pruning and quantisation.

Pruning and quantisation are not implemented yet.
"""

if __name__ != "nisqkit.compression":
    raise ImportError(f"import nisqkit.compression, not {__name__}")

from nisqkit.compression.distillation import distillation_loss as distillation_loss
