import pytest

from nisqkit.compression.schedule import PruningSchedule


def test_the_derivative_is_that_of_the_published_polynomial() -> None:
    # d share / d t = power (target - start) / end (1 - t / end)^(power - 1)
    schedule, step = PruningSchedule(start=0.1, target=0.9, end=0.8, power=3), 1e-6
    for t in (0.1, 0.35, 0.7):
        slope = (schedule.share(t + step) - schedule.share(t - step)) / (2 * step)
        assert slope == pytest.approx(3 * 0.8 / 0.8 * (1 - t / 0.8) ** 2, rel=1e-6)


def test_ends() -> None:
    schedule = PruningSchedule(start=0.05, target=0.5, end=0.5, power=3)
    assert schedule.share(0) == pytest.approx(0.05)
    assert schedule.share(0.5) == schedule.share(0.8) == schedule.share(1) == 0.5


def test_a_line_with_power_1() -> None:
    schedule = PruningSchedule(start=0.0, target=0.6, end=1.0, power=1)
    assert [schedule.share(k / 4) for k in range(5)] == pytest.approx([0, 0.15, 0.3, 0.45, 0.6])


def test_it_never_falls() -> None:
    schedule = PruningSchedule(power=2.5)
    shares = [schedule.share(k / 100) for k in range(101)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("options", [{"start": -0.1}, {"target": 1.0}, {"start": 0.6}])
def test_bad_shares(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="give 0 <= start <= target < 1"):
        PruningSchedule(**options)


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="give 0 < end <= 1"):
        PruningSchedule(end=0)
    with pytest.raises(ValueError, match="power must be positive and finite, got -1"):
        PruningSchedule(power=-1)
    with pytest.raises(ValueError, match=r"progress is a share .* got 1.5"):
        PruningSchedule().share(1.5)
