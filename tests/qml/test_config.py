from pathlib import Path

import pytest

from nisqkit.qml.config import NOISE_AWARE, TrainConfig


def test_a_config_survives_json() -> None:
    config = TrainConfig(task="mnist4", devices=("fake_santiago",), patience=3, lr=0.1 + 0.2)
    assert TrainConfig.from_json(config.to_json()) == config


def test_a_config_without_the_newer_fields_is_read() -> None:
    old = {"task": "digits4", "noise": "exact", "devices": ["fake_belem"]}
    config = TrainConfig.from_dict(old)
    assert (config.nodes, config.noise_factor, config.keep) == (1, 1.0, "best")


def test_a_noise_aware_config_survives_json() -> None:
    config = TrainConfig(**NOISE_AWARE, devices=["fake_belem"], layout=[0, 1, 2, 3], teacher="t")  # type: ignore[arg-type]
    assert TrainConfig.from_json(config.to_json()) == config


def test_devices_may_be_a_list() -> None:
    assert TrainConfig.from_dict({"devices": ["fake_manila"]}).devices == ("fake_manila",)


def test_differences_name_fields_and_both_values() -> None:
    mine, other = TrainConfig(lr=0.1, epochs=3), TrainConfig(lr=0.1, epochs=4, task="digits2")
    assert mine.differences(other) == ["task ('digits4', not 'digits2')", "epochs (3, not 4)"]
    assert mine.differences(mine) == []


def test_a_device_trains_only_where_that_is_asked_for() -> None:
    assert TrainConfig(devices=("fake_manila",)).training_device is None
    assert TrainConfig(devices=("fake_manila",), noise="exact").training_device == "fake_manila"
    assert TrainConfig(devices=("fake_manila",), backend="aer").training_device == "fake_manila"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (TrainConfig(task="vowel4"), "vowel4"),
        (TrainConfig(data="folder/iris.npz"), "iris"),
        (TrainConfig(data=r"C:\folder\iris.npz"), "iris"),
    ],
)
def test_task_name(config: TrainConfig, name: str) -> None:
    assert config.task_name == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth=0 must be a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs=2.5 must be a whole number"),
        ({"batch_size": True}, "batch_size=True must be a whole number"),
        ({"shots": -1}, "shots=-1 must be a whole number of at least 1"),
        ({"patience": 0}, "patience=0 must be"),
        ({"seed": -1}, "seed=-1: a seed is 0 or a positive integer"),
        ({"lr": 0.0}, "lr=0.0 must be a positive number"),
        ({"lr": float("nan")}, "lr=nan must be a positive number"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 must be 0 or a positive number"),
        ({"optimizer": "adma"}, "unknown optimizer 'adma'; did you mean 'adam'?"),
        ({"schedule": "cosinus"}, "unknown schedule 'cosinus'; did you mean 'cosine'?"),
        ({"devices": ("a", "b", "a")}, "devices lists a twice"),
        ({"nodes": 0}, "nodes=0 must be a whole number of at least 1"),
        ({"norm": True}, "norm=True would change nothing without nodes=2 or more"),
        ({"quantize": 5}, "quantize=5 would change nothing without nodes=2 or more"),
        ({"nodes": 2, "quantize": 1}, "quantize=1 must be at least 2 levels"),
        ({"centroid_weight": 0.5}, "centroid_weight=0.5 would change nothing without quantize"),
        ({"centroid_weight": -1}, "centroid_weight=-1 must be 0 or a positive number"),
        ({"noise_factor": 2.0}, "noise_factor=2.0 would change nothing without noise"),
        ({"noise_factor": float("inf")}, "noise_factor=inf must be 0 or a positive number"),
        ({"ideal_encoder": True}, "ideal_encoder=True would change nothing without noise"),
        ({"noise_schedule": "cosine_up"}, "did you mean 'cosine-up'"),
        ({"layout": (0, 1)}, "would change nothing without a device:"),
        ({"native": True}, "native=True would change nothing without a device to train on"),
        ({"distill_weight": 0.1}, "distill_weight=0.1 would change nothing without teacher"),
        ({"distill_weight": 0.0}, "distill_weight=0.0 must be above 0, up to 1"),
        ({"temperature": 0.0}, "temperature=0.0 must be a positive number"),
        ({"keep": "lats"}, "unknown keep 'lats'; did you mean 'last'"),
        ({"warmup_epochs": 30}, "warmup_epochs=30 must be a whole number of 0 or more"),
        ({"warmup_epochs": 1.5}, "warmup_epochs=1.5 must be a whole number of 0 or more, and less"),
        (
            {"noise": "gates", "devices": ("a",), "noise_schedule": "linear", "epochs": 1},
            "noise_schedule='linear' changes the noise from the first epoch to the last, and there",
        ),
        (
            {"noise": "angles", "devices": ("a",), "ideal_encoder": True},
            "ideal_encoder=True would change nothing without noise in gates",
        ),
        (
            {"model": "m:f", "nodes": 2},
            "nodes=2 would change nothing beside model, which builds its own network",
        ),
        ({"devices": ("a", "b"), "backend": "aer"}, "trains on one device, but 2 are given"),
        (
            {"devices": ("a", "b"), "noise": "exact"},
            "noise='exact' trains on one device, but 2 are given",
        ),
        ({"devices": ("a",), "noise": "exakt"}, "unknown noise 'exakt'; did you mean 'exact'?"),
        ({"noise": "exact"}, "noise='exact' trains on a device with the native engine"),
        (
            {"devices": ("a",), "noise": "exact", "backend": "aer"},
            "noise='exact' trains on a device with the native engine, but backend='aer'",
        ),
        (
            {"devices": ("a", "b"), "layout": (0, 1)},
            r"layout=\[0, 1\] is for one device, but 2 are given",
        ),
        ({"prune": 1.0}, "target=1.0 are shares that are pruned"),
        ({"prune": 0.5}, "prune=0.5 ends with the smallest circuit"),
        ({"prune_grow": 0.1}, "prune_grow=0.1 would change nothing without prune"),
        ({"subcircuit": "{}"}, "this is no sub-circuit of version 1"),
        ({"subcircuit": "x"}, "a sub-circuit is JSON text, and this is none"),
        ({"shots": 9}, "shots=9 would change nothing: backend='native' trains with exact values"),
        ({"epoch": 3}, "unknown field of TrainConfig 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_values_that_cannot_work(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize("devices", ["fake_lima", [3]])
def test_devices_that_are_no_list_of_names(devices: object) -> None:
    with pytest.raises(TypeError, match="must be a list of names, such as"):
        TrainConfig.from_dict({"devices": devices})


def test_files_are_kept_as_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(data="own.npz", data_dir="files", model="own.py:build")
    assert config.data == str(tmp_path / "own.npz")
    assert config.data_dir == str(tmp_path / "files")
    assert config.model == f"{tmp_path / 'own.py'}:build"
    monkeypatch.chdir("/")
    assert TrainConfig.from_json(config.to_json()) == config
    assert TrainConfig(model="package.module:build").model == "package.module:build"


def test_json_of_something_else() -> None:
    with pytest.raises(ValueError, match=r"a TrainConfig is a JSON object, got '\[1, 2\]'"):
        TrainConfig.from_json("[1, 2]")
