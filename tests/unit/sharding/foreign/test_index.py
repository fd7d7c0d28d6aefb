"""Indexes of tars that others made: what is found in them, and what a reader is given."""

import json
import pickle
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from tarfile import PAX_FORMAT as PAX

import numpy as np
import pytest
import webdataset

from sharding import storage
from sharding.building.verify import verify
from sharding.cli import main
from sharding.errors import UserError
from sharding.foreign import labels, sample, scan
from sharding.foreign.content import Content
from sharding.foreign.sample import Frames
from sharding.foreign.scan import Found, Scanned
from sharding.format import manifest, mjpeg
from sharding.format.manifest import Manifest
from sharding.format.rows import IndexedRow
from sharding.format.turbojpeg import Region
from tests import foreign, shards


def opened(split: Manifest) -> dict[str, tuple[IndexedRow, Frames]]:
    """Every sample of a split, as a reader has it."""
    found = {}
    for i, sidecar in enumerate(split.sidecars()):
        whole = storage.read_bytes(split.shard_url(i))
        for row in sidecar.samples:
            assert isinstance(row, IndexedRow)
            _, frames = sample.unpack(row, whole[row.offset : row.offset + row.bytes])
            frames.check((row.width, row.height))
            found[row.key] = row, frames
    return found


def pixels(row: IndexedRow, frames: Frames, which: list[int]) -> mjpeg.Array:
    size = row.width, row.height
    return frames.decode(which, size, "RGB", Region(0, 0, *size), mjpeg.fresh)


def test_the_layout_of_img2dataset(tmp_path: Path) -> None:
    tars = foreign.img2dataset(tmp_path / "tars", [3, 2])
    before = [tar.read_bytes() for tar in tars]
    made = foreign.indexed([tmp_path / "tars"], tmp_path / "index" / "train", label="txt")
    assert (made.samples, made.classes) == (5, ["class-0", "class-1", "class-2"])
    assert {key: row.label for key, (row, _) in opened(made).items()} == {
        "000000000": 0,
        "000000001": 1,
        "000000002": 2,
        "000010000": 0,
        "000010001": 1,
    }
    assert [tar.read_bytes() for tar in tars] == before
    assert sorted(path.name for path in (tmp_path / "index" / "train").iterdir()) == [
        *("failures.csv", "manifest.json", "shard-000000.json", "shard-000001.json")
    ]


@pytest.mark.parametrize(("codec", "kind"), [("libx264", "mp4"), ("libvpx-vp9", "webm"), ("mpeg4", "avi")])
def test_films_are_counted_at_indexing_and_decoded_when_used(tmp_path: Path, codec: str, kind: str) -> None:
    films = [foreign.film(s, frames=9 + s, codec=codec, kind=kind) for s in range(2)]
    files = [(f"a/{s}.{end}", data) for s in range(2) for end, data in ((kind, films[s]), ("cls", b"%d" % s))]
    made = foreign.indexed([foreign.tar(tmp_path / "a.tar", files)], tmp_path / "train")
    found = opened(made)
    assert {key: (row.frames, row.label) for key, (row, _) in found.items()} == {
        "a/0": (9, 0),
        "a/1": (10, 1),
    }
    row, frames = found["a/0"]
    shown = pixels(row, frames, [7, 2, 2])
    assert shown.shape == (3, 48, 64, 3)
    means = shown[:, 30:].mean((1, 2, 3))
    assert means == pytest.approx([16 + 8 * 7, 16 + 8 * 2, 16 + 8 * 2], abs=4)
    with pytest.raises(ValueError, match="ends before frame 9"):
        pixels(row, frames, [9])


def test_a_film_is_shown_as_a_build_would_show_it(tmp_path: Path) -> None:
    """Pixels that are not square, another matrix and a turn are the build's business too; here: size and colours."""
    data = foreign.film(5)
    made = foreign.indexed(
        [foreign.tar(tmp_path / "a.tar", [("a.mp4", data)])], tmp_path / "train", label="none"
    )
    row, frames = opened(made)["a"]
    red = pixels(row, frames, [3])[0, :20].mean((0, 1))
    assert red == pytest.approx([100, 40, 40], abs=6)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_pictures_without_loss_come_as_they_were_packed(tmp_path: Path, kind: str) -> None:
    files = [(f"{s}.{kind}", foreign.picture(kind, s)) for s in range(3)]
    made = foreign.indexed([foreign.tar(tmp_path / "a.tar", files)], tmp_path / "train")
    for number, (row, frames) in enumerate(opened(made).values()):
        assert row.frames == 1
        np.testing.assert_array_equal(pixels(row, frames, [0])[0], shards.frame(number, 0, 48, 40))


def test_a_member_a_frame_comes_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    files = [(f"clip.{n}.jpg", foreign.jpeg(0, n)) for n in (10, 2, 1)]
    made = foreign.indexed(
        [foreign.tar(tmp_path / "a.tar", [*files, ("clip.cls", b"1")])], tmp_path / "train"
    )
    row, frames = opened(made)["clip"]
    assert (row.frames, row.label) == (3, 1)
    green = pixels(row, frames, [0, 1, 2])[..., 1].mean((1, 2))
    assert green == pytest.approx([4, 8, 40], abs=3)


def test_motion_jpeg_is_cut_into_its_frames(tmp_path: Path) -> None:
    jpegs = [foreign.jpeg(0, n) for n in range(5)]
    made = foreign.indexed(
        [foreign.tar(tmp_path / "a.tar", [("clip.mjpeg", b"".join(jpegs))])], tmp_path / "train"
    )
    row, frames = opened(made)["clip"]
    assert [size for _, size in row.parts] == list(map(len, jpegs))
    assert pixels(row, frames, [4])[0, ..., 1].mean() == pytest.approx(16, abs=3)


def test_shards_that_were_built_can_be_indexed_too(tmp_path: Path) -> None:
    built = shards.make(tmp_path / "set", [3, 2], frames=4)
    made = foreign.indexed([built.root], tmp_path / "index" / "train", label="json:label")
    assert {key: (row.label, row.frames) for key, (row, _) in opened(made).items()} == {
        f"clip-{i}": (i % 3, 4) for i in range(5)
    }


def test_the_writer_of_webdataset_and_keys_that_come_again_in_every_tar(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with webdataset.TarWriter(str(tmp_path / f"{name}.tar")) as sink:
            for i in range(2):
                sink.write({"__key__": f"{i:04d}", "jpg": foreign.jpeg(i), "cls": i, "json": {"x": 1}})
    made = foreign.indexed([f"{tmp_path}/{{a,b}}.tar"], tmp_path / "train")
    assert list(opened(made)) == ["a/0000", "a/0001", "b/0000", "b/0001"]


@pytest.mark.parametrize(
    ("label", "expected", "classes"),
    [
        ("cls", 2, ["0", "1", "2"]),
        ("txt", 0, ["a dog"]),
        ("json:kind", 0, ["dog"]),
        ("json:deep.id", 4, ["0", "1", "2", "3", "4"]),
        ("json:many", (0, 1), ["cat", "dog"]),
        ("none", None, []),
    ],
)
def test_where_labels_are(
    tmp_path: Path, label: str, expected: int | tuple[int, ...] | None, classes: list[str]
) -> None:
    about = json.dumps({"kind": "dog", "deep": {"id": 4}, "many": ["dog", "cat"]}).encode()
    files = [("x.jpg", foreign.jpeg(0)), ("x.cls", b"2\n"), ("x.txt", b" a dog "), ("x.json", about)]
    made = foreign.indexed([foreign.tar(tmp_path / "a.tar", files)], tmp_path / "train", label=label)
    assert (opened(made)["x"][0].label, made.classes) == (expected, classes)
    assert made.several_labels == (label == "json:many")


def test_labels_of_a_table_and_classes_of_another_split(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,label\n0,dog\nin/1,cat\n")
    files = [("in/0.jpg", foreign.jpeg(0)), ("in/1.jpg", foreign.jpeg(1))]
    tar = foreign.tar(tmp_path / "a.tar", files)
    label = f"csv:{tmp_path}/labels.csv"
    made = foreign.indexed([tar], tmp_path / "train", label=label)
    assert made.classes == ["cat", "dog"]
    (tmp_path / "labels.csv").write_text("key,label\n0,dog\n1,dog\n")
    one = foreign.indexed([tar], tmp_path / "v", label=label, classes=f"{tmp_path}/train/manifest.json")
    assert one.classes == ["cat", "dog"]
    assert [row.label for row, _ in opened(one).values()] == [1, 1]
    (tmp_path / "labels.csv").write_text("key,label\n0,cow\n1,dog\n")
    with pytest.raises(UserError, match=r"sample in/0: label 'cow' is none of the 2 of --classes"):
        foreign.indexed([tar], tmp_path / "v", label=label, classes=f"{tmp_path}/train/manifest.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ключ,label\n".encode(), "its first line must name the columns key and label"),
        (b"", "its first line must name the columns key and label"),
        (b"key;label\na;0\n", "its first line must name the columns key and label"),
        ("key,label\na,é\n".encode("latin-1"), "not UTF-8; save it as UTF-8"),
        (b"key,label\na,0\na,0\n", "line 3: key a is there twice"),
        (b"label,key\n0\n", "line 2: no key"),
        (b'key,label\na,"' + b"x" * 200_000 + b'"\n', "no CSV .field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    tar = foreign.tar(tmp_path / "a.tar", [("a.jpg", foreign.jpeg(0))])
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"{tmp_path}/labels.csv.*{words}"):
        foreign.indexed([tar], tmp_path / "train", label=f"csv:{tmp_path}/labels.csv")


def test_a_table_of_any_size_is_not_sent_along_with_every_tar(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,label\n" + "".join(f"{i},{i % 2}\n" for i in range(10_000)))
    assert len(pickle.dumps(labels.parse(f"csv:{tmp_path}/labels.csv"))) < 1000
    tars = [foreign.tar(tmp_path / "tars" / f"{i}.tar", [(f"{i}.jpg", foreign.jpeg(i))]) for i in range(3)]
    assert main(["index", *map(str, tars), "--out", f"{tmp_path}/train", "--workers", "2",
                 "--label", f"csv:{tmp_path}/labels.csv"]) == 0  # fmt: skip
    found = opened(manifest.load(f"{tmp_path}/train"))
    assert {key: row.label for key, (row, _) in found.items()} == {"0": 0, "1": 1, "2": 0}


def test_the_memory_of_an_index_does_not_grow_with_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tar's findings lie on disk: what is held at a time is one of them, and a few bytes a sample."""
    inside = Content("pictures", 48, 40, 1, [(512, 400)])

    def scanned(request: scan.Request, report: object) -> Scanned:
        key = Path(request.url).stem
        samples = [Found(f"{key}-{i:06d}", 1024 * i, 1024, i, i % 7, replace(inside)) for i in range(2000)]
        return Scanned(1024 * 2000, "0" * 64, samples)

    def peak(tars: int) -> int:
        urls = [str(foreign.tar(tmp_path / f"{tars}" / f"{i:03d}.tar", [])) for i in range(tars)]
        tracemalloc.start()
        made = foreign.indexed(urls, tmp_path / f"{tars}" / "train", label="cls")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert made.samples == 2000 * tars
        return most

    monkeypatch.setattr(scan, "scan", scanned)
    # one after another, or as many as there are threads would be held
    monkeypatch.setattr(
        "sharding.foreign.index.at_once", lambda ask, things: [ask(thing) for thing in things]
    )
    few, many = peak(2), peak(20)
    assert many - few < 100 * 18 * 2000  # bytes; they took 900 a sample


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115, PTH123
    tar = foreign.tar(tmp_path / "a.tar", [("a.jpg", foreign.jpeg(0))])
    with pytest.raises(
        UserError, match=r"no room for what was found in the tars \(No space left.*; set TMPDIR"
    ):
        foreign.indexed([tar], tmp_path / "train")


def test_nothing_is_written_where_a_later_tar_has_a_wrong_label(tmp_path: Path) -> None:
    files = [[(f"{i}.jpg", foreign.jpeg(i)), (f"{i}.cls", str(i).encode())] for i in range(3)]
    tars = [foreign.tar(tmp_path / f"{i}.tar", files[i]) for i in range(3)]
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match=rf"{tars[2]}: sample 2: label '2' is none of the 2 of --classes"):
        foreign.indexed(tars, tmp_path / "train", classes=f"{tmp_path}/names.txt")
    assert not (tmp_path / "train").exists()


def test_a_key_that_becomes_too_long_behind_its_tar_s_name_is_told(tmp_path: Path) -> None:
    name = "/".join(["k" * 200] * 5)
    tars = [
        foreign.tar(tmp_path / f"{'t' * 100}{i}.tar", [(f"{name}.jpg", foreign.jpeg(0))], PAX) for i in "ab"
    ]
    with pytest.raises(UserError, match=r"a\.tar: the name of sample 'ttt.* is longer than 1024 bytes"):
        foreign.indexed(tars, tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_class_names_that_are_no_text_are_told_in_one_line(tmp_path: Path) -> None:
    tar = foreign.tar(tmp_path / "a.tar", [("a.jpg", foreign.jpeg(0)), ("a.cls", b"0")])
    (tmp_path / "names.txt").write_bytes("café\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"names\.txt: not UTF-8; save it as UTF-8"):
        foreign.indexed([tar], tmp_path / "train", classes=f"{tmp_path}/names.txt")


def test_samples_without_a_label_are_left_out_and_never_a_class(tmp_path: Path) -> None:
    """Nothing, -1 and the like would each be a class of their own, and turn numbers into names."""
    said = {"good": "7", "empty": "", "negative": "-1", "missing": None, "blank": " "}
    files = [(f"{key}.jpg", foreign.jpeg(0)) for key in said]
    table = "".join(f"{key},{label}\r\n" for key, label in said.items() if label is not None)
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + f"key,label\r\n{table}".encode())
    tar = foreign.tar(tmp_path / "a.tar", sorted(files))
    made = foreign.indexed([tar], tmp_path / "train", label=f"csv:{tmp_path}/labels.csv")
    assert {key: row.label for key, (row, _) in opened(made).items()} == {"good": 7}
    assert made.classes == [str(i) for i in range(8)]
    where = f"{tmp_path}/labels.csv"
    assert {failure.key: failure.reason for failure in made.failures} == {
        "empty": f"no label: {where} has neither a number nor a name there",
        "blank": f"no label: {where} has neither a number nor a name there",
        "negative": f"no label: {where} has -1 there, and classes are numbered from 0 on",
        "missing": f"no label: its key is not in {where}",
    }


@pytest.mark.parametrize(
    ("said", "label"),
    [
        (b"\xef\xbb\xbf3\r\n", 3),  # as editors of Windows write it
        (b"\xff3", "its .cls cannot be read"),
        (b"-3", "its .cls has -3 there, and classes are numbered from 0 on"),
        (b"", "its .cls has neither a number nor a name there"),
    ],
)
def test_a_label_is_a_number_or_a_name(tmp_path: Path, said: bytes, label: int | str) -> None:
    files = [("a.jpg", foreign.jpeg(0)), ("a.cls", said), ("b.jpg", foreign.jpeg(0)), ("b.cls", b"4")]
    made = foreign.indexed([foreign.tar(tmp_path / "a.tar", files)], tmp_path / "train")
    if isinstance(label, int):
        assert opened(made)["a"][0].label == label
    else:
        assert [(failure.key, failure.reason) for failure in made.failures] == [("a", f"no label: {label}")]
    assert (opened(made)["b"][0].label, made.classes) == (4, ["0", "1", "2", "3", "4"])


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("NaN", "no label: its .json has neither a number nor a name there"),
        ("null", "no label: its .json has neither a number nor a name there"),
        ("true", "no label: its .json has neither a number nor a name there"),
        ("1.0", "no label: its .json has neither a number nor a name there"),
        ("-1", "no label: its .json has -1 there, and classes are numbered from 0 on"),
        ('"\\ud800"', "no label: its .json has a name there that is no Unicode text"),
        ('{"x": 1}', "no label: its .json has neither a number nor a name there"),
    ],
)
def test_a_field_that_is_no_label_leaves_its_sample_out(tmp_path: Path, said: str, label: str) -> None:
    fields = {"a": said, "b": "1", "c": '"1"', "d": '"cat"'}
    files = [
        file
        for key, text in fields.items()
        for file in ((f"{key}.jpg", foreign.jpeg(0)), (f"{key}.json", f'{{"y": {text}}}'.encode()))
    ]
    made = foreign.indexed([foreign.tar(tmp_path / "a.tar", files)], tmp_path / "train", label="json:y")
    assert [(failure.key, failure.reason) for failure in made.failures] == [("a", label)]
    assert made.classes == ["1", "cat"]
    assert [row.label for row, _ in opened(made).values()] == [0, 0, 1]


def test_a_class_that_is_named_and_numbered_is_one_label(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    files = [("a.jpg", foreign.jpeg(0)), ("a.json", b'{"y": ["dog", 1, 0]}')]
    tar = foreign.tar(tmp_path / "a.tar", files)
    made = foreign.indexed([tar], tmp_path / "train", label="json:y", classes=f"{tmp_path}/names.txt")
    assert opened(made)["a"][0].label == (0, 1)


def test_what_cannot_be_used_is_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        *(("good.jpg", foreign.jpeg(0)), ("good.cls", b"0")),
        *(("cut.jpg", foreign.jpeg(1)[:8]), ("cut.cls", b"0")),
        ("nothing.json", b"{}"),
        *(("two.0.jpg", foreign.jpeg(1)), ("two.1.jpg", foreign.jpeg(1, width=64)), ("two.cls", b"0")),
        ("bare.jpg", foreign.jpeg(1)),
        *(("film.mp4", b"no film"), ("film.cls", b"0")),
        *(("last.jpg", foreign.jpeg(2)), ("last.cls", b"0")),
    ]
    tar = foreign.tar(tmp_path / "a.tar", files)
    assert main(["index", str(tar), "--out", f"{tmp_path}/train", "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert "5 of 7 samples could not be used (all others are indexed), --max-failures is 0.1%; " in said
    assert said.endswith(f"{tmp_path}/train/failures.csv; index again when they are mended\n")
    made = manifest.load(f"{tmp_path}/train")
    assert list(opened(made)) == ["good", "last"]
    assert {failure.key: failure.reason for failure in made.failures} == {
        "cut": "cut.jpg: not a JPEG: no frame header before its data",
        "nothing": "neither pictures nor a film among .json",
        "two": "frame 1 is 64x40, and frame 0 is 48x40; a clip has one size",
        "bare": "no label: it has no .cls",
        "film": "film.mp4: cannot be decoded: Invalid data found when processing input",
    }


def test_verify_and_inspect_know_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tars = foreign.img2dataset(tmp_path / "tars", [3, 2])
    foreign.video2dataset(tmp_path / "films", [2])
    urls = [str(tmp_path / "tars"), str(tmp_path / "films")]
    made = foreign.indexed(urls, tmp_path / "set" / "train", label="txt")
    assert main(["verify", str(tmp_path / "set"), "--workers", "1"]) == 0
    assert "3 shards, 7 samples" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "set"), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000
    capsys.readouterr()
    whole = bytearray(tars[1].read_bytes())
    row = made.sidecar(1).samples[1]
    whole[row.offset + 512 + 300] ^= 1
    tars[1].write_bytes(whole)
    report = verify(made.root, 1)
    assert report.problems == {str(tars[1]): ["sample 000010001: its CRC-32 differs", "its SHA-256 differs"]}
    assert main(["verify", str(tmp_path / "set"), "--workers", "1"]) == 1
    assert "index again" in capsys.readouterr().out


def test_programs_of_before_refuse_an_index_by_its_version(tmp_path: Path) -> None:
    tar = foreign.tar(tmp_path / "a.tar", [("a.jpg", foreign.jpeg(0))])
    made = foreign.indexed([tar], tmp_path / "train")
    for url in (f"{made.root}/manifest.json", made.sidecar_url(0)):
        assert json.loads(storage.read_bytes(url))["format"] == 2
    with pytest.raises(UserError, match=r"an index of others' tars; run blvnet-shard index again instead"):
        manifest.finalize(made.root)
