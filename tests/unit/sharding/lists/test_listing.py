from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES, key_fault
from sharding.lists.annotations import load, load_all, splits
from sharding.lists.listing import key_of
from sharding.lists.videos import Video


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
        ("path,label\na.mp4,x\na.mp4,x\n", "line 3: path 'a.mp4' is in line 2 too; remove one"),
        ("path,label,id\na.mp4,x,7\nb.mp4,x,7\n", "id '7' appears twice; each sample needs an id of its own"),
        ("video;label\na.mp4;x\n", "with commas; it is 'video;label'"),
        ("", "the first line must name the columns"),
        ("path,label\n", "no videos in it"),
        ("path,label\na.mp4,0\nb.mp4,-1\n", "line 3: label '-1': numbers of classes begin at 0"),
        ("path,label\na.mp4,99999999\n", "line 2: label '99999999': labels that are all whole numbers"),
        (f"path,label\na.mp4,{'9' * 5000}\n", "if these are names, put a letter before them"),
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


@pytest.mark.parametrize(
    "paths",
    [
        ["кот.mp4", "дом.mp4"],
        ["a b.mp4", "a_b.mp4"],
        ["a/b.mp4", "a_b.mp4"],
        ["a.mp4", "a.avi"],
        ["a/b.mp4", "a/b.avi", "a_b.mp4", "a b.mp4", "c.mp4"],
    ],
)
def test_names_that_would_be_the_same_are_told_apart(tmp_path: Path, paths: list[str]) -> None:
    listed = load("csv", write(tmp_path, "path,label\n" + "".join(f"{path},x\n" for path in paths)), "train")
    keys = {video.path: video.key for video in listed.videos}
    assert len(set(keys.values())) == len(paths) and not any(map(key_fault, keys.values()))
    assert keys.get("c.mp4", "c") == "c"  # whoever meets nobody keeps the name
    shuffled = load(
        "csv", write(tmp_path, "path,label\n" + "".join(f"{p},x\n" for p in paths[::-1])), "train"
    )
    assert {video.path: video.key for video in shuffled.videos} == keys


def test_a_name_from_a_path_gives_way_to_an_id(tmp_path: Path) -> None:
    listed = load("csv", write(tmp_path, "path,label,id\na.mp4,x,\nb.mp4,x,a\n"), "train")
    assert listed.videos[1].key == "a" and listed.videos[0].key.startswith("a-")


def test_whole_numbers_written_as_floats_are_indices(tmp_path: Path) -> None:
    rows = "".join(f"{i}.mp4,{i}.0\n" for i in range(12))
    loaded = load("csv", write(tmp_path, f"path,label\n{rows}x.mp4,3\ny.mp4,\n"), "train")
    assert loaded.classes == [str(i) for i in range(12)]
    assert [v.label for v in loaded.videos] == [*range(12), 3, None]


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_only_the_ends_of_lines_end_a_line(tmp_path: Path, mark: str) -> None:
    (tmp_path / "classes.txt").write_text(f"a{mark}b\r\nc\rd\n")
    file = write(tmp_path, f"path,label\nx{mark}y.mp4,a{mark}b\n")
    loaded = load("csv", file, "train", tmp_path / "classes.txt")
    assert loaded.classes == [f"a{mark}b", "c", "d"]
    assert [(v.path, v.label) for v in loaded.videos] == [(f"x{mark}y.mp4", 0)]


def test_a_repeated_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\na\n")
    with pytest.raises(UserError, match=r"classes\.txt: class 'a' appears twice"):
        load("csv", write(tmp_path, "path,label\nx.mp4,a\n"), "train", tmp_path / "classes.txt")


def test_absolute_paths_into_the_folder_are_as_relative_ones(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "videos").symlink_to("real")
    for folder in ("real", "videos"):
        file = write(tmp_path, f"path,label\n{tmp_path}/{folder}/a/b.mp4,x\n")
        (listed,) = load_all("csv", file, videos=tmp_path / "videos")
        assert listed.videos == [Video("a_b", "a/b.mp4", 0)]
    file = write(tmp_path, f"path,label\n{tmp_path}/elsewhere/b.mp4,x\n")
    with pytest.raises(UserError, match="must name something inside the video folder"):
        list(load_all("csv", file, videos=tmp_path / "videos"))


def test_a_share_of_the_videos_is_for_validation(tmp_path: Path) -> None:
    rows = [f"{i % 500}.mp4,{i % 3},{i},{i + 1}\n" for i in range(1000)]  # two cuts of each
    file = write(tmp_path, "path,label,start,end\n" + "".join(rows))
    train, validation = load_all("csv", file, share=0.2)
    assert (train.split, validation.split) == ("train", "validation")
    assert len(train.videos) + len(validation.videos) == 1000 and 140 < len(validation.videos) < 260
    assert not {v.path for v in train.videos} & {v.path for v in validation.videos}
    more = {v.path for v in list(load_all("csv", file, share=0.3))[1].videos}
    assert {v.path for v in validation.videos} < more
    assert "validation share 0.2" in train.identity(train.videos)
    (alone,) = load_all("csv", file)
    assert alone.split == "train" and "share" not in alone.identity(alone.videos)


def test_a_share_needs_a_list_without_splits_and_videos_on_both_sides(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has a column `split`; leave out --validation-share"):
        list(load_all("csv", write(tmp_path, "path,label,split\na.mp4,x,train\n"), share=0.5))
    with pytest.raises(UserError, match=r"--validation-share 0\.01: all videos of .* are train then"):
        list(load_all("csv", write(tmp_path, "path,label\na.mp4,x\n"), share=0.01))
    with pytest.raises(UserError, match="sthv2 has a validation split of its own"):
        list(load_all("sthv2", tmp_path, share=0.1))
