"""Compression of the classical parts of a hybrid model: pruning, quantisation, distillation.

Reserved: nothing is implemented here yet.
"""

if __name__ != "nisqkit.compression":
    raise ImportError(f"import nisqkit.compression, not {__name__}")
