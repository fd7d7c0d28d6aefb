from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES, key_fault
from sharding.sources.annotations import load, splits
from sharding.sources.listing import key_of
from sharding.sources.videos import Video


def write(folder: Path, text: str) -> Path:
    file = folder / "videos.csv"
    file.write_text(text)
    return file


def test_class_names_are_numbered_alphabetically_over_all_splits(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,split\nb/run 1.mp4,run,train\na.avi,jump,val\nc.mp4,,train\n")
    loaded = load("csv", file, "train")
    assert loaded.classes == ["jump", "run"]
    assert loaded.videos == [Video("b_run_1", "b/run 1.mp4", 1), Video("c", "c.mp4", None)]
    assert splits("csv", file) == ["train", "val"]


def test_a_class_file_decides_the_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label\na.mp4,run\nb.mp4,jump\n")
    (tmp_path / "classes.txt").write_text("walk\nrun\njump\n")
    loaded = load("csv", file, "train", tmp_path / "classes.txt")
    assert loaded.classes == ["walk", "run", "jump"]
    assert [v.label for v in loaded.videos] == [1, 2]


def test_indices_are_taken_as_they_are(tmp_path: Path) -> None:
    file = write(tmp_path, "label,path\n2,a.mp4\n0,b.mp4\n")
    loaded = load("csv", file, "train")
    assert loaded.classes == ["0", "1", "2"] and [v.label for v in loaded.videos] == [2, 0]
    (tmp_path / "classes.txt").write_text("walk\nrun\njump\n")
    named = load("csv", file, "train", tmp_path / "classes.txt")
    assert named.classes == ["walk", "run", "jump"] and [v.label for v in named.videos] == [2, 0]


def test_a_cut_has_times_and_a_name_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label,start,end\nx.mp4,a,0,2.5\nx.mp4,b,2.5,\n")
    first, second = load("csv", file, "train").videos
    assert (first.key, first.start, first.end) == ("x_0_2_5", 0.0, 2.5)
    assert (second.key, second.start, second.end) == ("x_2_5", 2.5, None)


def test_an_id_column_names_the_samples(tmp_path: Path) -> None:
    assert load("csv", write(tmp_path, "path,label,id\nx.mp4,a,first\n"), "train").videos[0].key == "first"


def test_a_key_from_a_path_is_always_safe_and_tells_long_paths_apart() -> None:
    long = "a/" * 100
    assert key_of("Kinetics/riding a bike/Ab-1_x.y.mp4") == "Kinetics_riding_a_bike_Ab-1_x_y"
    assert key_of(f"{long}1.mp4") != key_of(f"{long}2.mp4")
    assert len(key_of(f"{long}1.mp4")) == MAX_KEY_BYTES
    assert key_fault(key_of(f"{long}1.mp4")) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.mp4,run\n", "the first line must name the columns"),
        ("path,label,speed\na.mp4,run,1\n", "column 'speed'"),
        ("path,label,label\na.mp4,run,1\n", "column 'label'"),
        ("path,label\na.mp4\n", "line 2: expected 2 values"),
        ("path,label\na.mp4,b,c\n", "line 2: expected 2 values"),
        ("path,label\n../a.mp4,run\n", "line 2: path '../a.mp4' must name something inside"),
        ("path,label\n/etc/a.mp4,run\n", "inside the video folder"),
        ("path,label\n,run\n", "inside the video folder"),
        ("path,label,split\na.mp4,run,../x\n", "split '../x'"),
        ("path,label,start\na.mp4,run,soon\n", "line 2: start 'soon' is not a time"),
        ("path,label,start\na.mp4,run,-1\n", "start '-1' is not a time"),
        ("path,label,end\na.mp4,run,inf\n", "end 'inf' is not a time"),
        ("path,label,start,end\na.mp4,run,3,3\n", "end 3 is not after start 3"),
        ("path,label\na.mp4,x\na.avi,x\n", "id 'a' appears twice"),
        ("path,label,id\na.mp4,x,a/b\n", "contains a path separator"),
        ('path,label\n"a.mp4,x\n', "not valid CSV"),
        ("path,label,split\na.mp4,x,val\n", "no videos of split 'train'; it has val"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load("csv", file, "train")
    assert says in str(caught.value) and str(file) in str(caught.value)


def test_an_unknown_class_is_told_with_the_class_file(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("walk\n")
    with pytest.raises(UserError, match=r"line 2: unknown class 'run'; classes are in classes\.txt"):
        load("csv", write(tmp_path, "path,label\na.mp4,run\n"), "train", tmp_path / "classes.txt")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "videos.csv"
    file.write_bytes(b"path,label\n\xe9.mp4,run\n")
    with pytest.raises(UserError, match=r"videos\.csv: not UTF-8 \(byte 11\)"):
        load("csv", file, "train")
