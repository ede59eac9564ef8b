"""Writes are all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_edge.files import replacing, write_json, write_text


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_json(target, {"old": 1})

    def full_disk() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        full_disk()
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_replaces_and_is_readable_by_others(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.txt"
    write_text(target, "one")
    write_text(target, "two")
    assert target.read_text() == "two"
    assert target.stat().st_mode & 0o044 == 0o044
