"""Killed at any moment: what is on the disk is whole, and the next process goes on from there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Forks children that do one job over and over, kills each after a random time, and says how the folder was found.
#: A fork, because a process of its own takes a second to import what it takes a millisecond to interrupt.
_KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from tests import interruption_jobs

name, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
job, verdict = interruption_jobs.JOBS[name]
job(folder, 0)
random.seed(0)
found = []
for number in range(kills):
    child = os.fork()
    if child == 0:
        turn = number
        while True:
            turn += 1
            job(folder, turn)
    time.sleep(random.uniform(0.001, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found.append(verdict(folder))
job(folder, 0)
print(json.dumps([found, verdict(folder), sorted(path.name for path in folder.iterdir())]))
"""


def killed(job: str, folder: Path, kills: int) -> tuple[list[str], str, list[str]]:
    """What each kill left, what is there after a last, undisturbed turn, and the names of the files."""
    folder.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", _KILLER, job, str(folder), str(kills)], capture_output=True, text=True, timeout=3000
    )
    assert result.returncode == 0, result.stderr
    left, last, names = json.loads(result.stdout)
    return left, last, names


COUNTS = pytest.mark.parametrize("kills", [30, pytest.param(1000, marks=pytest.mark.exhaustive)])


@pytest.mark.slow
@COUNTS
def test_an_export_that_is_killed_leaves_a_bundle_that_is_whole_or_none(tmp_path: Path, kills: int) -> None:
    left, last, names = killed("publish", tmp_path / "bundle", kills)
    assert set(left) <= {"whole", "no manifest"}
    assert last == "whole"
    assert [name for name in names if "partial" in name] == []


@pytest.mark.slow
@COUNTS
@pytest.mark.parametrize("job", ["publish again", "record", "cache"])
def test_a_killed_job_leaves_no_torn_files(tmp_path: Path, job: str, kills: int) -> None:
    left, last, _ = killed(job, tmp_path / "folder", kills)
    assert {*left, last} == {"whole"}
