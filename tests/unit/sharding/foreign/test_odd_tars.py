"""Odd tars: each is read as webdataset reads it, or refused by name."""

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from webdataset import tariterators

from sharding.errors import UserError
from sharding.foreign import labels, scan
from sharding.foreign.scan import Scanned
from tests import foreign

JPEG = foreign.jpeg(0)
FILES = [("a.jpg", JPEG), ("a.txt", b"x"), ("b.jpg", JPEG), ("b.txt", b"y")]


def scanned(tar: Path) -> Scanned:
    return scan.scan(scan.Request(str(tar), labels.parse("none"), None), lambda _: None)


def keys(tar: Path) -> list[str]:
    return [found.key for found in scanned(tar).samples]


def of_webdataset(tar: Path) -> list[str]:
    with tar.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": str(tar), "stream": stream}])
        return [sample["__key__"] for sample in tariterators.group_by_keys(files)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "deep/" * 40, "ü.d/"])
def test_long_names_and_all_kinds_of_headers(tmp_path: Path, form: int, folder: str) -> None:
    if form == tarfile.USTAR_FORMAT and len(folder) > 150:
        folder = "deep/" * 28
    tar = foreign.tar(tmp_path / "a.tar", [(folder + name, data) for name, data in FILES], form)
    found = scanned(tar)
    assert [one.key for one in found.samples] == [f"{folder}a", f"{folder}b"] == of_webdataset(tar)
    whole = tar.read_bytes()
    for one in found.samples:
        (start, size) = one.content.parts[0]
        assert whole[one.offset + start : one.offset + start + size] == JPEG
    assert found.notes == []


def test_what_webdataset_passes_over_is_passed_over(tmp_path: Path) -> None:
    files = [
        ("__meta__", b"x"),
        ("README", b"x"),
        ("._a.jpg", b"mac"),
        *FILES[:2],
        ("LICENSE", b"x"),
        *FILES[2:],
    ]
    tar = foreign.tar(tmp_path / "a.tar", files)
    with tarfile.open(tar, "a") as more:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        more.addfile(folder)
        info = tarfile.TarInfo("folder/c.JPG")
        info.size = len(JPEG)
        more.addfile(info, io.BytesIO(JPEG))
    assert keys(tar) == of_webdataset(tar) == ["a", "b", "folder/c"]


def test_random_names_are_grouped_as_webdataset_groups_them(tmp_path: Path) -> None:
    chance = random.Random(5)
    for number in range(30):
        stems = sorted(chance.sample(["a", "b", "c.d/e", "f/g", "h h", "_", "i"], 4))
        ends = ["jpg", "JPG", "seg.png.txt", "cls", "txt", "x.y", ""]
        names = [f"{stem}.{end}" for stem in stems for end in chance.sample(ends, 3)]
        names = [name for name in names if f"{name.lower()}" not in [n.lower() for n in names if n != name]]
        tar = foreign.tar(tmp_path / f"{number}.tar", [(name, JPEG) for name in names])
        found = scanned(tar)
        assert sorted([*(s.key for s in found.samples), *(f.key for f in found.failures)]) == sorted(
            of_webdataset(tar)
        )


def link(kind: bytes) -> Callable[[Path], None]:
    def make(tar: Path) -> None:
        foreign.tar(tar, FILES)
        with tarfile.open(tar, "a") as more:
            info = tarfile.TarInfo("c.jpg")
            info.type, info.linkname = kind, "a.jpg"
            more.addfile(info)

    return make


def sparse(tar: Path) -> None:
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(JPEG)
        info.pax_headers = {"GNU.sparse.map": f"0,{len(JPEG)}", "GNU.sparse.size": str(len(JPEG))}
        made.addfile(info, io.BytesIO(JPEG))


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda tar: tar.write_bytes(change(foreign.tar(tar, FILES).read_bytes())) and None


def of(*names: str) -> Callable[[Path], None]:
    return lambda tar: foreign.tar(tar, [(name, JPEG) for name in names]) and None


def damaged(whole: bytes) -> bytes:
    """A header in the middle is none."""
    at = 512 + len(JPEG) + (-len(JPEG) % 512)
    return whole[:at] + b"\xff" * 512 + whole[at + 512 :]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            link(tarfile.SYMTYPE),
            "member c.jpg: a link to a.jpg, whose content is not here; pack the files again",
        ),
        (link(tarfile.LNKTYPE), "member c.jpg: a link to a.jpg"),
        (sparse, "member a.jpg: a sparse file, stored in pieces; pack it again without tar's --sparse"),
        (of("a.jpg", "a.jpg"), "member a.jpg is there twice"),
        (of("a.jpg", "a.JPG"), "member a.JPG is there twice"),
        (
            of("a.jpg", "b.jpg", "a.txt"),
            "member a.txt: the members of sample a lie apart; pack them next to one",
        ),
        (of("a\x07.jpg"), r"the name of sample 'a\\x07' contains a control character"),
        (of("a.jpg", "a.png"), r"sample a has \.jpg, \.png; say with --member which of them is to be read"),
        (changed(gzip.compress), "compressed with gzip: .*; gunzip it"),
        (changed(lambda whole: whole[:900]), "ends inside member a.jpg: cut short; copy it again"),
        (changed(damaged), r"damaged: no member begins at byte \d+; copy it again"),
        (changed(lambda _: b""), "not a tar, or damaged, behind byte 0: empty file; copy it again"),
        (changed(lambda _: b"<html>" * 100), "not a tar, or damaged, behind byte"),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    tar = tmp_path / "x.tar"
    make(tar)
    with pytest.raises(UserError, match=f"{tar}: {words}"):
        scanned(tar)


def test_an_end_that_is_missing_and_one_that_is_none_are_said(tmp_path: Path) -> None:
    tar = foreign.tar(tmp_path / "a.tar", FILES)
    whole = tar.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    tar.write_bytes(whole[:end])
    found = scanned(tar)
    assert [one.key for one in found.samples] == ["a", "b"]
    assert found.notes == [f"{tar}: no mark of its end; it may be cut short behind its last sample"]
    tar.write_bytes(whole + whole)  # two tars, one behind the other
    found = scanned(tar)
    assert [one.key for one in found.samples] == ["a", "b"] == of_webdataset(tar)
    assert found.notes == [f"{tar}: more follows its end, which webdataset does not read either"]


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["pipe:cat a.tar"], "the output of a command cannot be read from the middle"),
        (["{a,b.tar"], "its braces do not match"),
        (["a.tar.gz"], "compressed: no sample can be read without all before it"),
        (["empty"], "no .tar in it"),
        (["a.tar", "a.tar"], "given twice"),
        (["missing.tar"], "no such file"),
        (["missing"], "missing: no such file or folder"),
    ],
)
def test_urls_that_are_no_tars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    foreign.tar(tmp_path / "a.tar", FILES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        foreign.indexed(urls, tmp_path / "train")
