from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.lists.annotations import load_all
from sharding.lists.videos import Annotations

LIST = "path,label,split\na.mp4,run; jump,train\nb.mp4,run,train\nc.mp4,,train\nd.mp4,sit;run;jump,val\n"


def listed(folder: Path, text: str, separator: str | None = ";", **more: Path) -> list[Annotations]:
    file = folder / "videos.csv"
    file.write_text(text)
    return list(load_all("csv", file, separator=separator, **more))


def refused(folder: Path, text: str, separator: str = ";", **more: Path) -> str:
    with pytest.raises(UserError) as caught:
        listed(folder, text, separator, **more)
    return str(caught.value)


def test_a_video_has_the_list_of_its_classes_in_ascending_order(tmp_path: Path) -> None:
    train, val = listed(tmp_path, LIST)
    assert train.classes == val.classes == ["jump", "run", "sit"] and train.several and val.several
    assert [video.label for video in train.videos] == [(0, 1), (1,), None]
    assert [video.label for video in val.videos] == [(0, 1, 2)]


def test_without_a_separator_the_text_is_one_name(tmp_path: Path) -> None:
    train, _ = listed(tmp_path, LIST, separator=None)
    assert train.classes == ["run", "run; jump", "sit;run;jump"] and not train.several
    assert [video.label for video in train.videos] == [1, 0, None]


def test_numbers_are_indices_where_every_entry_is_one(tmp_path: Path) -> None:
    (train,) = listed(tmp_path, "path,label\na,3 0\nb,2.0\n", separator=" ")
    assert train.classes == ["0", "1", "2", "3"]
    assert [video.label for video in train.videos] == [(0, 3), (2,)]
    (named,) = listed(tmp_path, "path,label\na,3|x\nb,2\n", separator="|")
    assert named.classes == ["2", "3", "x"]


def test_a_class_file_decides_the_numbers_and_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("sit\nrun\njump\n")
    train, _ = listed(tmp_path, LIST, classes=file)
    assert [video.label for video in train.videos] == [(1, 2), (1,), None]
    file.write_text("sit\nrun\n")
    assert refused(tmp_path, LIST, classes=file) == (
        f"{tmp_path}/videos.csv: line 2: unknown class 'jump'; classes are in classes.txt"
    )


def test_of_the_wanted_classes_each_video_keeps_its_own(tmp_path: Path) -> None:
    file = tmp_path / "wanted.txt"
    file.write_text("sit\njump\n")
    train, val = listed(tmp_path, LIST, only=file)
    assert [(video.key, video.label) for video in train.videos] == [("a", (1,))]
    assert (train.left_out, train.several) == (2, True)
    assert [video.label for video in val.videos] == [(0, 1)]


def test_a_share_of_the_videos_can_be_validation(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("path,label\n" + "".join(f"{i}.mp4,a;b\n" for i in range(20)))
    train, val = load_all("csv", tmp_path / "videos.csv", share=0.5, separator=";")
    assert len(train.videos) + len(val.videos) == 20 and train.several and val.several
    assert {video.label for video in [*train.videos, *val.videos]} == {(0, 1)}


@pytest.mark.parametrize("field", ["run;;jump", ";run", "run;", ";", "run; ;jump"])
def test_an_empty_entry_is_named_with_its_line(tmp_path: Path, field: str) -> None:
    said = refused(tmp_path, f"path,label\na,jump\nb,{field}\n")
    assert said.startswith(f"{tmp_path}/videos.csv: line 3: labels {field!r}: one is empty; ")


@pytest.mark.parametrize("field", ["run;run", "3;1;3.0"])
def test_a_class_that_is_named_twice_is_an_error(tmp_path: Path, field: str) -> None:
    said = refused(tmp_path, f"path,label\nb,{field}\n")
    assert said == f"{tmp_path}/videos.csv: line 2: labels {field!r}: a class is named twice; name each once"


def test_numbers_out_of_range_are_named_with_their_line(tmp_path: Path) -> None:
    assert "line 3: label '-1': numbers of classes begin at 0" in refused(
        tmp_path, "path,label\na,1\nb,0;-1\n"
    )


def test_the_separator_is_for_lists_and_not_empty(tmp_path: Path) -> None:
    assert refused(tmp_path, LIST, "").startswith("--label-separator: it is empty; ")
    with pytest.raises(UserError, match="--label-separator: a video of sthv2 has one label; leave it out"):
        list(load_all("sthv2", tmp_path, separator=";"))


def test_what_labels_say_is_part_of_what_a_list_is(tmp_path: Path) -> None:
    identities = {
        listed(tmp_path, f"path,label\na.mp4,{label}\nb.mp4,2\n", separator)[0].identity(videos)
        for label, separator in (("0;1", ";"), ("1", ";"), ("1", None), ("", ";"))
        for videos in [listed(tmp_path, f"path,label\na.mp4,{label}\nb.mp4,2\n", separator)[0].videos]
    }
    assert len(identities) == 4
