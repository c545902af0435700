from random import Random

import pytest
import torch
from torch import nn

from nisqkit.compression.patches import Patched
from nisqkit.search.profile import profile


def stage() -> nn.Sequential:
    """Strides, pools, dilation, groups and padding that is not half of the kernel."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 6, 5, padding=1),
        nn.Sequential(nn.BatchNorm2d(6), nn.ReLU6()),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 4, (3, 1), padding=(1, 0), stride=(1, 2)),
        nn.Tanh(),
    )
    layers(3 + torch.randn(8, 2, 34, 34))  # statistics that are not 0 and 1
    return layers.eval()


def integers(layers: nn.Sequential) -> None:
    """Small whole numbers as weights: every sum is exact, in whatever order it is made."""
    generator = torch.Generator().manual_seed(1)
    for parameter in layers.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).float()


@pytest.mark.parametrize("patches", [(1, 1), (2, 2), (4, 2), (8, 4), (1, 4)])
def test_patches_compute_what_the_layers_compute(patches: tuple[int, int]) -> None:
    layers, x = stage().double(), torch.randn(3, 2, 34, 34, dtype=torch.float64)
    expected = layers(x)
    assert expected.shape == (3, 4, 8, 4)
    assert torch.allclose(Patched(layers, patches)(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("patches", [(2, 2), (4, 4), (16, 1)])
def test_equal_to_the_last_bit_where_sums_are_exact(patches: tuple[int, int]) -> None:
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, stride=2),
        nn.MaxPool2d(3, stride=1, padding=1),
        nn.Conv2d(8, 3, 3, padding=1),
    )
    integers(layers)
    x = torch.randint(-3, 4, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(Patched(layers, patches)(x), layers(x))


def test_gradients_are_equal_too() -> None:
    layers = stage().double()
    found = []
    for module in (layers, Patched(layers, (2, 2))):
        x = torch.randn(
            2, 2, 34, 34, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        x.requires_grad_()
        layers.zero_grad()
        module(x).pow(2).sum().backward()
        found.append([x.grad, *(p.grad.clone() for p in layers.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        assert a is not None and b is not None
        assert torch.allclose(a, b, atol=1e-10)


def test_the_peak_is_smaller_and_macs_grow_by_the_border() -> None:
    layers = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2, padding=1)
    )
    x = torch.randn(1, 1, 32, 32)
    before, after = profile(layers, x), profile(Patched(layers, (4, 4)), x)
    # the first image and its ReLU beside the input: (1 + 2 x 16) x 32 x 32 floats
    assert before.total("peak_activation_bytes").value == 4 * 33 * 32 * 32
    # input and output: 12 kB; a patch: 9 x 9 places of 16 channels, twice, and some padding
    assert after.total("peak_activation_bytes").value < 4 * (1 + 2) * 32 * 32 + 4 * 3 * 16 * 10 * 10
    whole = 9 * 16 * 32 * 32 + 9 * 16 * 8 * 16 * 16
    assert before.total("macs").value == whole
    # 4 x 4 output places need 9 x 9 of the first image, except at its upper and left end
    rows = 8 + 3 * 9
    assert after.total("macs").value == 9 * 16 * rows**2 + 9 * 16 * 8 * 16 * 16


def test_patches_that_do_not_divide_the_image() -> None:
    patched = Patched(nn.Sequential(nn.Conv2d(1, 1, 3)), (3, 2))
    with pytest.raises(ValueError, match=r"3 patches do not divide the 10 rows.*one of \[1, 2, 5"):
        patched(torch.zeros(1, 1, 12, 12))


def test_what_depends_on_the_whole_image() -> None:
    patched = Patched(stage().train(), (2, 2))
    with pytest.raises(ValueError, match=r"BatchNorm2d in training mode.*call eval\(\) first"):
        patched(torch.zeros(2, 2, 34, 34))
    with pytest.raises(
        ValueError, match=r"Linear at '1' cannot run on patches; what can is Conv2d"
    ):
        Patched(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(2, 2)), (2, 2))
    for layer in (
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.AvgPool2d(3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
    ):
        with pytest.raises(ValueError, match="at '0' cannot run on patches: use padding by"):
            Patched(nn.Sequential(layer), (2, 2))


def test_padding_beyond_the_kernel() -> None:
    with pytest.raises(ValueError, match="at '0' pads more than its kernel reaches"):
        Patched(nn.Sequential(nn.Conv2d(1, 1, 1, padding=1)), (2, 2))


def test_random_stages() -> None:
    """Kernels, strides, padding, dilation and patches at random, in float64."""
    random, compared = Random(0), 0
    for _ in range(150):
        layers: list[nn.Module] = []
        for channels in [2, 3, 3, 3][: random.randint(1, 4)]:
            kernel, stride, dilation = (
                random.randint(1, 4),
                random.randint(1, 3),
                random.randint(1, 2),
            )
            padding = random.randint(0, dilation * (kernel - 1))
            options = {"stride": stride, "padding": padding, "dilation": dilation}
            layers.append(nn.Conv2d(channels, 3, kernel, **options))  # type: ignore[arg-type]
            pool = nn.MaxPool2d(kernel, stride, padding=random.randint(0, kernel // 2))
            layers += random.choice([[], [nn.ReLU()], [nn.AvgPool2d(kernel, stride)], [pool]])
        stack = nn.Sequential(*layers).double()
        x = torch.randn(1, 2, random.randint(8, 17), random.randint(8, 17), dtype=torch.float64)
        try:
            expected = stack(x)
        except RuntimeError:  # nothing is left of the image
            continue
        grid = [
            random.choice([n for n in range(1, s + 1) if s % n == 0]) for s in expected.shape[2:]
        ]
        found = Patched(stack, (grid[0], grid[1]))(x)
        assert torch.allclose(found, expected, atol=1e-12), (stack, x.shape, grid)
        compared += 1
    assert compared > 50


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"patches=\(0, 2\): give rows and columns"):
        Patched(nn.Sequential(nn.Conv2d(1, 1, 3)), (0, 2))
    with pytest.raises(ValueError, match=r"x has shape \(1, 8, 8\)"):
        Patched(nn.Sequential(nn.Conv2d(1, 1, 3)), (2, 2))(torch.zeros(1, 8, 8))
