"""Settings of every test process; they must be set before torch and NumPy are imported."""

import os

# One thread each: pytest runs several workers, and on small states torch is slower with more.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAYON_NUM_THREADS"] = "1"  # Qiskit's compiled passes
os.environ["QISKIT_PARALLEL"] = "FALSE"  # no forked processes from a process that has threads
os.environ["MPLBACKEND"] = "Agg"  # no windows
