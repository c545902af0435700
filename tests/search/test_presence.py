"""Whose process is alive, as seen by others."""

import subprocess
import sys
import time

import optuna
import pytest

from nisqkit.search.presence import PREFIX, Presence


def test_a_worker_is_there_until_it_leaves() -> None:
    study = optuna.create_study()
    with Presence(study, patience=60) as one:
        with Presence(study, patience=60) as two:
            assert one.alive() == two.alive() == sorted([one.name, two.name])
        assert one.alive() == [one.name]


def test_a_process_that_is_gone_from_this_machine_is_noticed_at_once() -> None:
    study = optuna.create_study()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with Presence(study, patience=60) as one:
        machine, _, unique = one.name.rsplit(":", 2)
        study.set_user_attr(f"{PREFIX}{machine}:{gone.pid}:{unique}", 3)
        assert one.alive() == [one.name]


def test_another_machine_is_dead_once_its_sign_stops_changing() -> None:
    study = optuna.create_study()
    with Presence(study, patience=0.3) as one:
        for count in range(4):  # longer than the patience, but it changes
            study.set_user_attr(f"{PREFIX}elsewhere:1:abc", count)
            assert "elsewhere:1:abc" in one.alive()
            time.sleep(0.15)
        time.sleep(0.3)
        assert one.alive() == [one.name]
        study.set_user_attr(f"{PREFIX}elsewhere:1:abc", 9)  # it was only slow
        assert "elsewhere:1:abc" in one.alive()


def test_patience_must_be_positive() -> None:
    with pytest.raises(ValueError, match="patience must be positive, got 0"):
        Presence(optuna.create_study(), patience=0)
