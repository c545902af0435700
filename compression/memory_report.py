"""What inference needs of a microcontroller: memory for activations, layer by layer, and flash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from nisqkit.search import Budget
from nisqkit.search.names import nearest
from nisqkit.search.profile import profile

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Microcontroller:
    """A device by its memory, in bytes; 1 kB is 1024 bytes here, as in data sheets.

    Attributes:
        name: What it is called.
        sram_bytes: For activations.
        flash_bytes: For weights.

    Example:
        >>> MICROCONTROLLERS["stm32f746"].budgets()[0]
        Budget(metric='peak_activation_bytes', max=327680, min=None)
    """

    name: str
    sram_bytes: int
    flash_bytes: int

    def budgets(self) -> tuple[Budget, Budget]:
        """Limits for a search, in the metrics of `nisqkit.search.profile` (of float32 models)."""
        return (
            Budget("peak_activation_bytes", max=self.sram_bytes),
            Budget("weight_bytes", max=self.flash_bytes),
        )


MICROCONTROLLERS: Mapping[str, Microcontroller] = {
    "256kB": Microcontroller("256 kB SRAM, 1 MB flash", 256 * 1024, 1024 * 1024),
    "stm32f746": Microcontroller("STM32F746", 320 * 1024, 1024 * 1024),
}
"""The target of Lin et al., NeurIPS 2022 (arXiv:2206.15472), and a board by its data sheet."""


def microcontroller(name: str) -> Microcontroller:
    """A preset by its name.

    Raises:
        ValueError: There is none.
    """
    if name not in MICROCONTROLLERS:
        raise ValueError(f"there is no preset {name!r}{nearest(name, MICROCONTROLLERS)}")
    return MICROCONTROLLERS[name]


@dataclass(frozen=True)
class LayerMemory:
    """One layer.

    Attributes:
        name: As in ``model.named_modules()``.
        what: Its class.
        peak_bytes: The most that is alive while it runs; None where it did not.
        weight_bytes: Of its weights.
    """

    name: str
    what: str
    peak_bytes: int | None
    weight_bytes: int


@dataclass(frozen=True)
class MemoryReport:
    """Memory of a model, layer by layer; see `memory_report`."""

    layers: tuple[LayerMemory, ...]
    peak_bytes: int
    weight_bytes: int

    @property
    def worst(self) -> LayerMemory:
        """The layer at which the peak is."""
        return max(self.layers, key=lambda layer: layer.peak_bytes or 0)

    def fits(self, device: Microcontroller) -> bool:
        """Whether activations fit the SRAM and weights the flash."""
        return self.peak_bytes <= device.sram_bytes and self.weight_bytes <= device.flash_bytes

    def table(self, device: Microcontroller | None = None) -> Table:
        """A `rich.table.Table`, one row per layer; with a device, shares of what it has."""
        from rich.table import Table

        title = None if device is None else f"of {device.name}"
        table = Table("layer", "", "peak", "weights", title=title)

        def cell(value: int | None, of: int | None) -> str:
            if value is None:
                return ""
            return f"{value:,} B" if of is None else f"{value:,} B ({value / of:.0%})"

        sram, flash = (None, None) if device is None else (device.sram_bytes, device.flash_bytes)
        for layer in self.layers:
            peak = cell(layer.peak_bytes, sram)
            table.add_row(layer.name, layer.what, peak, cell(layer.weight_bytes, flash))
        table.add_row("total", "", cell(self.peak_bytes, sram), cell(self.weight_bytes, flash))
        return table


def memory_report(
    model: nn.Module,
    example: Any,
    *,
    activation_bits: int = 32,
    bits: Mapping[str, int] | None = None,
) -> MemoryReport:
    """The measured peak of inference at every layer, and the packed bytes of the weights.

    The peak of a layer is what is alive while it runs: its input, what it makes, and all that is
    kept for later. It is measured in the model's own dtype and scaled to ``activation_bits``.

    Args:
        model: The model.
        example: Its input, with the batch dimension; one sample is what a microcontroller runs.
        activation_bits: Bits of an activation on the device, such as 8.
        bits: Bits of the weights by name, as in `nisqkit.search.profile`.

    Raises:
        ValueError: Bits below 1, or a model without floating-point weights.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> report = memory_report(model, torch.zeros(1, 8), activation_bits=8)
        >>> [layer.peak_bytes for layer in report.layers], report.worst.name
        ([40, 72, 42], '1')
        >>> report.fits(microcontroller("256kB"))
        True
    """
    if activation_bits < 1:
        raise ValueError(f"activation_bits={activation_bits}: give 1 or more, such as 8")
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    if not dtypes:
        raise ValueError(f"{type(model).__name__} has no floating-point weights to take a dtype of")
    own_bits = 8 * dtypes[0].itemsize
    found = profile(model, example, bits=bits)
    rows = []
    for path, node in found.walk():
        if node.children and path:
            continue
        totals = node.totals()
        peak = totals.get("peak_activation_bytes")
        scaled = None if peak is None else -(-int(peak.value) * activation_bits // own_bits)
        weights = totals.get("weight_bytes")
        rows.append(
            LayerMemory(path, node.what, scaled, 0 if weights is None else int(weights.value))
        )
    whole, *layers = rows
    return MemoryReport(tuple(layers) or (whole,), whole.peak_bytes or 0, whole.weight_bytes)
