import json
from pathlib import Path

import pytest

from nisqkit.qml.config import TrainConfig
from nisqkit.qml.run_folder import PACKAGES, RunFolder

CONFIG = TrainConfig(epochs=3)


def started(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.start(CONFIG, {"seed": 0})
    return run


def test_a_new_folder_records_config_versions_and_date(tmp_path: Path) -> None:
    run = started(tmp_path / "a" / "b")
    record = json.loads(run.config_file.read_text())
    assert TrainConfig.from_dict(record["config"]) == run.config() == CONFIG
    assert set(record["versions"]) == {*PACKAGES, "python"}
    assert record["started"].endswith("+00:00")
    assert record["seed"] == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_may_be_used(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "run"
    if there:
        path.mkdir()
        (path / "config.json.tmp").write_text("{")  # a start that was killed
    RunFolder(path).check(CONFIG, resume=False)


def test_a_folder_with_a_run(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(ValueError, match=r"already holds a run: continue it with --resume"):
        RunFolder(tmp_path).check(CONFIG, resume=False)


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds other files: choose an empty or a new folder"):
        RunFolder(tmp_path).check(CONFIG, resume=False)
    with pytest.raises(ValueError, match=r"thesis\.tex is a file: choose a folder"):
        RunFolder(tmp_path / "thesis.tex").check(CONFIG, resume=False)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="to resume: leave out --resume"):
        RunFolder(tmp_path).check(CONFIG, resume=True)


def test_resuming_with_another_config_names_the_fields(tmp_path: Path) -> None:
    started(tmp_path)
    RunFolder(tmp_path).check(CONFIG, resume=True)
    with pytest.raises(ValueError, match=r"different are: epochs \(5, not 3\), seed \(1, not 0\)"):
        RunFolder(tmp_path).check(TrainConfig(epochs=5, seed=1), resume=True)


def test_no_run_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run in .* \(no config\.json\)"):
        RunFolder(tmp_path).config()


@pytest.mark.parametrize("text", ["{", "{}", '{"config": 3}'])
def test_a_damaged_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        RunFolder(tmp_path).config()


def test_progress_is_overwritten_in_place(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.read_progress() == (0, 0)
    run.write_progress(123456, 7)
    run.write_progress(5, 70)
    assert run.read_progress() == (5, 70)
    (tmp_path / "progress.txt").write_text("")  # killed between creating and writing it
    assert run.read_progress() == (0, 0)


def test_metrics_are_rewritten_not_appended(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')  # a torn line
    run.write_metrics([{"epoch": 1}, {"epoch": 2}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_checkpoint_and_metrics_belong_together(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.load() is None
    run.save({"history": [{"epoch": 1}]})
    checkpoint = run.load()
    assert checkpoint is not None
    assert checkpoint["history"] == [{"epoch": 1}]
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n'
