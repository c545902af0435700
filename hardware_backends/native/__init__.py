"""The native engine: Numba kernels, schedules and the backend that runs them."""

if __name__ != "nisqkit.hardware_backends.native":
    raise ImportError(f"import nisqkit.hardware_backends.native, not {__name__}")

from nisqkit.hardware_backends.native.backend import NativeBackend as NativeBackend
