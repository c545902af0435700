from pathlib import Path

import pytest
from typer.testing import CliRunner

from nisqkit.cli.main import app
from nisqkit.qml import demo


def test_demo_prints_the_table_and_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"depth": 1, "epochs": 1, "batch_size": 64, "devices": ["fake_manila"]}
    config = demo.TrainConfig.from_dict(demo.CONFIG.to_dict() | short)
    monkeypatch.setattr(demo, "SEEDS", 1)
    monkeypatch.setattr(demo, "CONFIG", config)
    out = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--out", str(out)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for text in ("U3 + CU3 circuit", "no entanglement", "fake_manila", "majority", "MLP-16"):
        assert text in done.output
    pictures = [line.strip() for line in done.output.splitlines() if line.endswith(".png")]
    assert len(pictures) == 3
    assert all(Path(picture).is_file() for picture in pictures)
