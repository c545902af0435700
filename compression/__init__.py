"""Compression of a model: distillation of a teacher into a student."""

if __name__ != "nisqkit.compression":
    raise ImportError(f"import nisqkit.compression, not {__name__}")

from nisqkit.compression.distillation import distillation_loss as distillation_loss
