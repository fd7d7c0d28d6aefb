"""Films in archives are those that were packed, and an archive that is not whole is named before anything is read."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from sharding.archives import films, folder, parts, spans
from sharding.archives.films import Downloads
from sharding.archives.tars import BadTarError, Tar
from sharding.errors import UserError
from tests.unit.sharding import downloads
from tests.unit.sharding.downloads import NAME, SHAPES, Shape, write_zip

UNGUARDED = (downloads.tar_parts, downloads.one_tar)
"""A plain tar has checksums of its headers only."""
CONTENTS = {f"{number}.webm": bytes([number]) * (300 * number) for number in range(9)}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Nine files, the first of them empty; none can be compressed away."""
    made = tmp_path / "videos"
    made.mkdir()
    for number, name in enumerate(CONTENTS):
        (made / name).write_bytes(content(number))
    return made


def content(number: int) -> bytes:
    state, out = 12345 + number, bytearray()
    for _ in range(700 * number):
        state = (1103515245 * state + 12345) % (1 << 31)
        out.append(state >> 16 & 255)
    return bytes(out)


def packed(shape: Shape, videos: Path, tmp_path: Path) -> Path:
    archives = tmp_path / "archives"
    archives.mkdir()
    shape(videos, archives)
    return archives


def read_all(archives: Path, spool: Path) -> films.Films:
    return Downloads(archives, spool, ()).films(lambda _: None)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_films(shape: Shape, videos: Path, tmp_path: Path) -> None:
    archives = packed(shape, videos, tmp_path)
    heard: list[int] = []
    found = Downloads(archives, tmp_path / "spool", ()).films(heard.append)
    assert sum(heard) > sum(len(content(number)) for number in range(9))
    for number, name in enumerate(CONTENTS):
        film = found.read(name)
        assert film is not None and film.getvalue() == content(number) and film.name == name
        whole = found.read(f"{NAME}/{name}")
        assert whole is not None and whole.getvalue() == content(number)
    assert found.read("._1.webm") is None and found.read("10.webm") is None
    assert set(found.of(["1.webm", "10.webm"]).spans) == {"1.webm"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.97, 0.999])
def test_an_archive_that_is_cut_is_named(shape: Shape, share: float, videos: Path, tmp_path: Path) -> None:
    """Each of its files in turn, cut at several places. What a tar has behind its end mark may be cut."""
    archives = packed(shape, videos, tmp_path)
    for file in sorted(archives.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole.rstrip(b"\0")) * share)])
        with pytest.raises(UserError, match=file.name):
            read_all(archives, tmp_path / "spool")
        assert not (tmp_path / "spool" / "index.json").exists()
        file.write_bytes(whole)
    read_all(archives, tmp_path / "spool")
    assert {file.name for file in (tmp_path / "spool").iterdir()} <= {"films", "index.json", "lock"}


@pytest.mark.parametrize("shape", [downloads.zip_parts, downloads.plain_parts, downloads.lettered_parts])
def test_a_missing_part_is_named_by_its_number(shape: Shape, videos: Path, tmp_path: Path) -> None:
    archives = packed(shape, videos, tmp_path)
    files = sorted(archives.iterdir())
    lettered = shape is downloads.lettered_parts
    for number, file in enumerate(files[:-1]):
        moved = file.rename(tmp_path / file.name)
        name = f"a{'abcde'[number]}" if lettered else f"{number:02}"
        with pytest.raises(UserError, match=f"part {name} of .* is missing"):
            read_all(archives, tmp_path / "spool")
        moved.rename(file)
    files[-1].unlink()
    last = "ad" if lettered else "03"
    with pytest.raises(
        UserError, match=f"part {last} of .*, the last, is cut, or parts after it are missing"
    ):
        read_all(archives, tmp_path / "spool")


@pytest.mark.parametrize("deflated", [False, True])
def test_the_first_part_is_missed_where_numbers_begin_at_1(
    deflated: bool, videos: Path, tmp_path: Path
) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    downloads.zip_parts(videos, archives, deflated)
    (archives / f"{NAME}-00.zip").unlink()
    with pytest.raises(UserError, match=r"part 00 of .* is missing: part 01 of .* is not its beginning"):
        read_all(archives, tmp_path / "spool")


def test_a_number_that_is_missing_among_zips_of_films(videos: Path, tmp_path: Path) -> None:
    archives = packed(downloads.film_zips, videos, tmp_path)
    (archives / "films_2.zip").unlink()
    with pytest.raises(UserError, match=r"part 2 of films_\*\.zip is missing"):
        read_all(archives, tmp_path / "spool")


def test_a_part_that_is_there_twice_is_named(videos: Path, tmp_path: Path) -> None:
    archives = packed(downloads.zip_parts, videos, tmp_path)
    (archives / "copy.zip").write_bytes((archives / f"{NAME}-03.zip").read_bytes())
    with pytest.raises(UserError, match=r"part 03 of .* is there twice: .*-03\.zip and .*copy\.zip"):
        read_all(archives, tmp_path / "spool")


def test_a_zip_of_films_that_is_there_twice_is_named(videos: Path, tmp_path: Path) -> None:
    archives = packed(downloads.film_zips, videos, tmp_path)
    (archives / "films_2 (1).zip").write_bytes((archives / "films_2.zip").read_bytes())
    with pytest.raises(
        UserError, match=r"webm is in the archives twice, in .*films_2 \(1\)\.zip and in .*films_2"
    ):
        read_all(archives, tmp_path / "spool")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in UNGUARDED])
def test_a_changed_byte_is_found(shape: Shape, videos: Path, tmp_path: Path) -> None:
    archives = packed(shape, videos, tmp_path)
    file = sorted(archives.iterdir())[1 if len(list(archives.iterdir())) > 1 else 0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        read_all(archives, tmp_path / "spool")


def test_the_spool_is_used_again_and_filled_again_when_an_archive_changes(
    videos: Path, tmp_path: Path
) -> None:
    archives, spool = packed(downloads.plain_parts, videos, tmp_path), tmp_path / "spool"
    read_all(archives, spool)
    heard: list[int] = []
    found = Downloads(archives, spool, ()).films(heard.append)
    assert not heard and found.read("3.webm") is not None

    (spool / "films").write_bytes(b"cut")
    Downloads(archives, spool, ()).films(heard.append)
    assert sum(heard) == sum(file.stat().st_size for file in archives.iterdir())

    heard.clear()
    for file in archives.iterdir():
        file.unlink()
    (videos / "3.webm").write_bytes(b"another film")
    downloads.plain_parts(videos, archives)
    found = Downloads(archives, spool, ()).films(heard.append)
    film = found.read("3.webm")
    assert heard and film is not None and film.getvalue() == b"another film"


def test_what_a_killed_build_left_is_removed_and_the_spool_goes_when_it_is_forgotten(
    videos: Path, tmp_path: Path
) -> None:
    archives, spool = packed(downloads.plain_parts, videos, tmp_path), tmp_path / "spool"
    spool.mkdir()
    (spool / "films.elsewhere.123").write_bytes(b"half")
    loaded = Downloads(archives, spool, ())
    loaded.films(lambda _: None)
    assert {file.name for file in spool.iterdir()} == {"films", "index.json", "lock"}
    loaded.forget()
    assert not spool.exists()


def test_too_little_room_is_said_before_anything_is_read(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = packed(downloads.plain_parts, videos, tmp_path)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(films.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"the films need .* GB, .* are free; give --spool"):
        read_all(archives, tmp_path / "spool")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.webm", b"film", "takes no single films"),
        ("films.zip", b"no zip", "not a zip"),
        ("films.tar", bytes(600), "neither a tar nor gzip"),
        ("films.tar.gz.crdownload", b"\x1f\x8b", "a download that has not ended"),
        ("films-00", b"no archive", "neither a tar nor gzip"),
        ("films-01", b"\0" * 600, "part 00 of films- is missing"),
        ("read me.txt", b"text", "no archive of films in it"),
    ],
)
def test_what_is_no_archive_is_said(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=says):
        folder.look(tmp_path, ())


def test_zips_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr("1.webm", b"1" * 100)
    with pytest.raises(UserError, match=r"a\.zip: 1\.webm is neither stored nor deflated"):
        folder.look(tmp_path, ())
    write_zip(tmp_path / "a.zip", [("b.zip", b"")])
    with pytest.raises(UserError, match="a zip in a zip"):
        folder.look(tmp_path, ())


def test_a_name_without_its_folder_is_found_where_it_is_the_only_one(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [("x/1.webm", b"x1"), ("x/2.webm", b"x2")])
    write_zip(tmp_path / "b.zip", [("y/1.webm", b"y1"), ("y/3.webm", b"y3")])
    found = read_all(tmp_path, tmp_path / "spool")
    assert {path for path in found.spans if "/" not in path} == {"2.webm", "3.webm"}
    assert spans.read(found.spans["y/1.webm"], "") == b"y1"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("20bn-something-something-v2-07", ("20bn-something-something-v2-", "07")),
        ("films.tar.gz.ab", ("films.tar.gz.", "ab")),
        ("films.zip.001", ("films.zip.", "001")),
        ("films.tar.gz", None),
        ("films.gz", None),
        ("7.webm", None),
        ("readme", None),
    ],
)
def test_names_of_parts(name: str, split: tuple[str, str] | None) -> None:
    assert parts.split_name(name) == split


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_tars_are_read_as_tarfile_writes_them(kind: int) -> None:
    names = [
        "short",
        "long/" + "x" * 90 + "/" + "y" * 60,
        "ärger.webm" if kind != tarfile.USTAR_FORMAT else "b",
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(name[0].encode("latin-1") * 700))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "short"
        tar.addfile(link)
    data = out.getvalue()
    opened = Tar(io.BytesIO(data))
    read = [(entry.name, b"".join(opened.content())) for entry in opened]
    assert read == [(name, name[0].encode("latin-1") * 700) for name in names]
    seekable = [(entry.name, entry.offset, entry.size) for entry in Tar(io.BytesIO(data), seekable=True)]
    assert [data[at : at + size] for _, at, size in seekable] == [content for _, content in read]
    end = len(data.rstrip(b"\0"))
    for cut in range(0, end, 137):  # up to the last header, which is that of a link
        for can_seek in (False, True):
            with pytest.raises(BadTarError):
                list(Tar(io.BytesIO(data[:cut]), can_seek))
    with pytest.raises(BadTarError, match="bytes follow its end"):
        list(Tar(io.BytesIO(data + data)))
