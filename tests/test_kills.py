"""Commands killed at random moments and restarted until they finish: no torn files, and the same results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import JOBS


def kill(job: str, folder: Path, kills: int, *more: str) -> None:
    command = [sys.executable, "-m", "tests.kills", job, str(folder), str(kills), "0", *more]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    print(job, report)
    assert report["kills"] == kills
    assert set(report["left"]) == {"whole"}
    assert report["differing"] == {}


@pytest.mark.slow
def test_a_killed_command_finishes_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """The quickest command; test_training also kills a training of the small network."""
    kill("audit", tmp_path, 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("job", JOBS)
def test_a_command_killed_thirty_times_finishes_like_an_uninterrupted_one(tmp_path: Path, job: str) -> None:
    kill(job, tmp_path, 30)


@pytest.mark.exhaustive
def test_a_killed_xception_training_finishes_like_an_uninterrupted_one(tmp_path: Path) -> None:
    kill("train", tmp_path, 10, "full")
