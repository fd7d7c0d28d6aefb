import hashlib
import json
from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.format.keys import MAX_KEY_BYTES, key_fault
from sharding.lists.annotations import load, load_all, splits
from sharding.lists.videos import Annotations, Video, fingerprint

CLASSES = ["Pushing something from left to right", "Approaching something with your camera"]


def write_v2(folder: Path, rows: object = None, labels: object = None, prefix: str = "") -> Path:
    default = {CLASSES[0]: "0", CLASSES[1]: "1"}
    row = {"id": "78687", "label": "pushing a pen", "template": "Pushing [something] from left to right"}
    (folder / f"{prefix}labels.json").write_text(json.dumps(default if labels is None else labels))
    (folder / f"{prefix}train.json").write_text(json.dumps([row] if rows is None else rows))
    return folder


def write_v1(folder: Path) -> Path:
    # Not alphabetical: the index is the line.
    (folder / "something-something-v1-labels.csv").write_text("\n".join(CLASSES) + "\n")
    (folder / "something-something-v1-train.csv").write_text(f"100218;{CLASSES[1]}\n24413;{CLASSES[0]}\n")
    (folder / "something-something-v1-validation.csv").write_text(f"7;{CLASSES[1]}\r\n")
    (folder / "something-something-v1-test.csv").write_text("1\n2\n")
    return folder


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_v2_is_read_under_both_sets_of_file_names(tmp_path: Path, prefix: str) -> None:
    loaded = load("sthv2", write_v2(tmp_path, prefix=prefix), "train")
    about = {"template": "Pushing [something] from left to right", "text": "pushing a pen"}
    assert loaded == Annotations("sthv2", "train", CLASSES, [Video("78687", "78687.webm", 0, about=about)])


def test_v2_classes_come_in_the_order_of_their_indices(tmp_path: Path) -> None:
    write_v2(tmp_path, labels={CLASSES[0]: "1", CLASSES[1]: "0"})
    loaded = load("sthv2", tmp_path, "train")
    assert loaded.classes == CLASSES[::-1]
    assert loaded.videos[0].label == 1


def test_v2_placeholders_and_numeric_ids_are_kept(tmp_path: Path) -> None:
    row = {"id": 5, "template": "Approaching [something] with your camera", "placeholders": ["a mug"]}
    video = load("sthv2", write_v2(tmp_path, [row]), "train").videos[0]
    assert (video.key, video.label, video.about["placeholders"]) == ("5", 1, ["a mug"])


def test_v1_class_index_is_the_line_of_the_class(tmp_path: Path) -> None:
    write_v1(tmp_path)
    assert load("sthv1", tmp_path, "train").videos == [
        Video("100218", "100218", 1),
        Video("24413", "24413", 0),
    ]
    assert load("sthv1", tmp_path, "validation").videos == [Video("7", "7", 1)]


def test_a_test_split_has_no_labels(tmp_path: Path) -> None:
    write_v2(tmp_path)
    (tmp_path / "test.json").write_text('[{"id": "9"}]')
    assert load("sthv2", tmp_path, "test").videos == [Video("9", "9.webm", None)]
    assert load("sthv1", write_v1(tmp_path), "test").videos == [Video("1", "1", None), Video("2", "2", None)]


def test_the_test_split_is_optional(tmp_path: Path) -> None:
    write_v2(tmp_path)
    assert splits("sthv2", tmp_path) == ["train", "validation"]
    (tmp_path / "test.json").write_text('[{"id": "9"}]')
    assert splits("sthv2", tmp_path) == ["train", "validation", "test"]


def error(dataset: str, folder: Path, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        load(dataset, folder, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named_with_all_its_possible_names(tmp_path: Path) -> None:
    write_v2(tmp_path)
    message = error("sthv2", tmp_path, "validation")
    assert str(tmp_path) in message
    assert "something-something-v2-validation.json" in message and "no validation.json" in message
    assert "something-something-v1-labels.csv" in error("sthv1", tmp_path)


@pytest.mark.parametrize("dataset", ["sthv1", "sthv2"])
def test_an_unknown_class_names_file_and_id(tmp_path: Path, dataset: str) -> None:
    if dataset == "sthv1":
        write_v1(tmp_path)
        (tmp_path / "something-something-v1-train.csv").write_text("17;Juggling something\n")
    else:
        write_v2(tmp_path, [{"id": "17", "template": "Juggling [something]"}])
    message = error(dataset, tmp_path)
    assert "train." in message and "'17'" in message and "'Juggling something'" in message


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("../../etc/passwd", "path separator"),
        ("..", "dot"),
        ("a\\b", "path separator"),
        ("a.b", "dot"),
        ("", "empty"),
        ("a\nb", "control character"),
        ("\ud800", "control character"),
        ("x" * (MAX_KEY_BYTES + 1), "longer than 94 bytes"),
        ("é" * (MAX_KEY_BYTES // 2 + 1), "longer than 94 bytes"),
    ],
)
def test_an_id_that_is_no_safe_name_is_refused(tmp_path: Path, key: str, fault: str) -> None:
    write_v2(tmp_path, [{"id": key, "template": CLASSES[0]}])
    message = error("sthv2", tmp_path)
    assert fault in message and "train.json" in message and repr(key) in message


def test_the_longest_key_is_allowed() -> None:
    assert key_fault("x" * MAX_KEY_BYTES) is None


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    row = {"id": "3", "template": CLASSES[0]}
    assert "'3' appears twice" in error("sthv2", write_v2(tmp_path, [row, row]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"id": "\xff"}]', "not UTF-8 (byte 9)"),
        (b"[{\n", "not valid JSON (line 2"),
        (b"[" * 100_000, "not valid JSON (maximum recursion depth"),
        (b"9" * 5000, "not valid JSON (Exceeds the limit"),
        (b"{}", "expected a list"),
        (b"[]", "no videos"),
        (b'[{"label": "x"}]', "entry 1 has no `id`"),
        (b'[{"id": "1"}]', "id '1' has no `template`"),
    ],
)
def test_a_malformed_v2_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    write_v2(tmp_path)
    (tmp_path / "train.json").write_bytes(content)
    message = error("sthv2", tmp_path)
    assert says in message and str(tmp_path / "train.json") in message


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["a"], "expected an object"),
        ({"a": "x"}, "index 'x'"),
        ({"a": "0", "b": "0"}, "given to 'a' and to 'b'"),
        ({"a": "0", "b": "2"}, "must be 0 to 1"),
        ({}, "no classes"),
    ],
)
def test_a_malformed_class_list_is_named(tmp_path: Path, labels: object, says: str) -> None:
    message = error("sthv2", write_v2(tmp_path, labels=labels))
    assert says in message and "labels.json" in message


def test_half_a_character_is_refused_with_its_place(tmp_path: Path) -> None:
    row = {"id": "3", "template": CLASSES[0], "label": "a \ud800"}
    assert "id '3': a text has '\\ud800', half of a character" in error("sthv2", write_v2(tmp_path, [row]))
    assert "labels.json: a text has" in error("sthv2", write_v2(tmp_path, labels={"\udfff": "0"}))


def test_a_v1_line_without_label_is_named(tmp_path: Path) -> None:
    write_v1(tmp_path)
    (tmp_path / "something-something-v1-train.csv").write_text("17\n")
    assert "line 1: expected `id;label`" in error("sthv1", tmp_path)


def test_a_repeated_v1_class_is_refused(tmp_path: Path) -> None:
    write_v1(tmp_path)
    (tmp_path / "something-something-v1-labels.csv").write_text("a\na\n")
    assert "class 'a' appears twice" in error("sthv1", tmp_path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    assert "unknown split 'dev'" in error("sthv2", write_v2(tmp_path), "dev")


def test_the_fingerprint_tells_any_change() -> None:
    videos = [Video("1", "1.webm", 0), Video("2", "2.webm", 1)]
    changed = [
        videos[::-1],
        [Video("1", "1.webm", 1), videos[1]],
        [Video("1", "1.mp4", 0), videos[1]],
        [Video("1", "1.webm", 0, start=1.0), videos[1]],
        [Video("1", "1.webm", 0, about={"text": "x"}), videos[1]],
        videos[:1],
    ]
    assert len({fingerprint(v) for v in [videos, *changed]}) == len(changed) + 1


def test_the_fingerprint_is_that_of_the_rows_as_json() -> None:
    paths = ["a/b c-1_.mp4", 'a"b.mp4', "a\\b.mp4", "é.mp4", "a\x7f.mp4"]
    videos = [Video(str(i), path, label) for i, path in enumerate(paths) for label in (None, 3)]
    videos += [Video("s", "a.mp4", 0, 1.5, None), Video("e", "a.mp4", 0, None, 2), Video("é", "a.mp4", 0)]
    rows = [[v.key, v.path, v.label, v.start, v.end, v.about] for v in videos]
    text = "".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows)
    assert fingerprint(videos) == hashlib.sha256(text.encode()).hexdigest()


def write_names(folder: Path, *names: str) -> Path:
    file = folder / "only.txt"
    file.write_text("".join(f"{name}\n" for name in names))
    return file


def test_only_some_classes_are_numbered_in_their_own_order(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    rows = ["a.mp4,jump,train", "b.mp4,run,train", "c.mp4,swim,train", "d.mp4,,train", "e.mp4,run,val"]
    file.write_text("\n".join(["path,label,split", *rows]))
    train, val = load_all("csv", file, only=write_names(tmp_path, "swim", "run"))
    assert train.classes == val.classes == ["swim", "run"]
    assert train.videos == [Video("b", "b.mp4", 1), Video("c", "c.mp4", 0)]
    assert val.videos == [Video("e", "e.mp4", 1)]
    assert (train.left_out, val.left_out) == (2, 0)


@pytest.mark.parametrize("dataset", ["sthv1", "sthv2"])
def test_only_some_classes_of_something_something(tmp_path: Path, dataset: str) -> None:
    rows = [{"id": str(i), "template": f"{CLASSES[i % 2]}"} for i in range(5)]
    folder = write_v1(tmp_path) if dataset == "sthv1" else write_v2(tmp_path, rows)
    only = tmp_path / "only.json"  # as label files of v2 are
    only.write_text(json.dumps({CLASSES[1]: "0"}))
    (train,) = load_all(dataset, folder, ["train"], only=only)
    assert train.classes == [CLASSES[1]] and {video.label for video in train.videos} == {0}
    assert [video.key for video in train.videos] == (["100218"] if dataset == "sthv1" else ["1", "3"])
    whole = load(dataset, folder, "train")
    assert train.left_out == len(whole.videos) - len(train.videos)
    assert train.identity(train.videos) != whole.identity(whole.videos)


@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["Pushing something left to right"], "train", f"has no class .*; did you mean '{CLASSES[0]}'"),
        (["Sleeping"], "train", f"the data set has no class 'Sleeping'; its .* are such as '{CLASSES[0]}'"),
        ([CLASSES[0].upper()], "train", f"; did you mean '{CLASSES[0]}'"),
        ([CLASSES[0], CLASSES[0]], "train", "only.txt: class .* appears twice"),
        ([], "train", "only.txt: no classes in it"),
        ([CLASSES[0]], "validation", "split validation has no labelled video of these classes"),
        ([CLASSES[0]], "test", "--only-classes .*: split test has no labelled video .* such as --split train"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_wanted_classes_is_named(
    tmp_path: Path, names: list[str], split: str, message: str
) -> None:
    write_v1(tmp_path)
    with pytest.raises(UserError, match=message):
        list(load_all("sthv1", tmp_path, [split], only=write_names(tmp_path, *names)))
