from pathlib import Path

import pytest

from sharding.building import absent
from sharding.errors import UserError
from sharding.format import budget
from sharding.lists.videos import Video


def videos(*paths: str) -> list[Video]:
    return [Video(str(i), path, 0) for i, path in enumerate(paths)]


def test_files_and_folders_in_any_depth_count_as_there(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "c.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("a/c.mp4")
    there = videos("a/b", "a/c.mp4", "./a//c.mp4", "link.mp4")
    absent.check(there, tmp_path, budget.parse("0"), 4)


@pytest.mark.parametrize(
    ("limit", "planned", "refused"),
    [("0", 3, True), ("1", 3, True), ("2", 3, False), ("50%", 3, True), ("67%", 3, False), ("50%", 4, False)],
)
def test_more_missing_videos_than_may_fail_are_refused(
    tmp_path: Path, limit: str, planned: int, refused: bool
) -> None:
    (tmp_path / "1.mp4").touch()
    wanted = videos("1.mp4", "2.mp4", "nowhere/3.mp4")
    if not refused:
        absent.check(wanted, tmp_path, budget.parse(limit), planned)
        return
    with pytest.raises(
        UserError, match=rf"2 of {planned} videos are not in it: 2.mp4, nowhere/3.mp4; .*is {limit};"
    ):
        absent.check(wanted, tmp_path, budget.parse(limit), planned)
