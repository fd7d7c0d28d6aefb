"""A set of films in the archives that data sets are downloaded as."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

NAME = "20bn-something-something-v2"
Shape = Callable[[Path, Path], None]
"""Writes the archives of the films of the first folder to the second."""


def tar_of(videos: Path) -> bytes:
    """A tar of the films in a folder of the data set's name, among them what a Mac leaves there."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for file in sorted(videos.iterdir()):
            tar.add(file, f"{NAME}/{file.name}")
            junk = tarfile.TarInfo(f"{NAME}/._{file.name}")
            junk.size = 4
            tar.addfile(junk, io.BytesIO(b"junk"))
    return out.getvalue()


def pieces(data: bytes, count: int) -> list[bytes]:
    """`data` cut into `count` pieces of one size; the last is shorter."""
    size = -(-len(data) // count) + 1
    return [data[i : i + size] for i in range(0, len(data), size)]


def write_zip(file: Path, members: Sequence[tuple[str, bytes]], deflated: bool = False) -> None:
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", kind) as opened:
        for name, data in members:
            opened.writestr(name, data)


def zip_parts(videos: Path, folder: Path, deflated: bool = False) -> None:
    """As Something-Something v2 comes: each zip holds one piece of a tar.gz."""
    for number, piece in enumerate(pieces(gzip.compress(tar_of(videos)), 5)):
        write_zip(folder / f"{NAME}-{number:02}.zip", [(f"{NAME}-{number:02}", piece)], deflated)


def deflated_zip_parts(videos: Path, folder: Path) -> None:
    zip_parts(videos, folder, deflated=True)


def plain_parts(videos: Path, folder: Path) -> None:
    for number, piece in enumerate(pieces(gzip.compress(tar_of(videos)), 5)):
        (folder / f"{NAME}-{number:02}").write_bytes(piece)


def lettered_parts(videos: Path, folder: Path) -> None:
    for letter, piece in zip("abcde", pieces(gzip.compress(tar_of(videos)), 5), strict=True):
        (folder / f"{NAME}.tar.gz.a{letter}").write_bytes(piece)


def tar_parts(videos: Path, folder: Path) -> None:
    for number, piece in enumerate(pieces(tar_of(videos), 3), 1):
        (folder / f"films.tar.{number:03}").write_bytes(piece)


def one_tar_gz(videos: Path, folder: Path) -> None:
    (folder / "films.tgz").write_bytes(gzip.compress(tar_of(videos)))


def one_tar(videos: Path, folder: Path) -> None:
    (folder / "films.tar").write_bytes(tar_of(videos))


def zipped_tar(videos: Path, folder: Path) -> None:
    write_zip(folder / "films.zip", [("films.tar", tar_of(videos))], deflated=True)


def film_zips(videos: Path, folder: Path, deflated: bool = False) -> None:
    films = [(f"{NAME}/{file.name}", file.read_bytes()) for file in sorted(videos.iterdir())]
    for number, some in enumerate((films[:4], films[4:7], films[7:]), 1):
        write_zip(
            folder / f"films_{number}.zip", [("read me.txt", b"of films")] * (number == 1) + some, deflated
        )


def deflated_film_zips(videos: Path, folder: Path) -> None:
    film_zips(videos, folder, deflated=True)


SHAPES: list[Shape] = [
    zip_parts,
    deflated_zip_parts,
    plain_parts,
    lettered_parts,
    tar_parts,
    one_tar_gz,
    one_tar,
    zipped_tar,
    film_zips,
    deflated_film_zips,
]


def write_labels(annotations: Path, folder: Path) -> None:
    """The label files in a zip of their own."""
    files = [(f"labels/{file.name}", file.read_bytes()) for file in sorted(annotations.iterdir())]
    write_zip(folder / "20bn-something-something-download-package-labels.zip", files, deflated=True)
