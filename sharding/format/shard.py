"""One shard: a tar of samples, written and read.

A sample is two members, `<key>.json` and then `<key>.mjpeg`. Its span is both members with their headers and
padding; a reader that knows the span's offset, which the sidecar says, reads nothing else. The tar's headers hold no
time and no user, so equal samples give equal bytes.

In a set of films the second member is the film's own file, `<key>.webm` or another ending.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, TypeVar

from isal import isal_zlib

from sharding.format import header, schema
from sharding.format.rows import Count, FilmRow, Label, Positive, SampleRow, Side
from sharding.format.sidecar import Failure, FilmSidecar, JpegShard, Recipe, Sidecar

T = TypeVar("T")
_BLOCK = tarfile.BLOCKSIZE
_PIECE = 16 << 20
_MOST_BYTES = (8 << 30) - 1


@dataclass(frozen=True)
class FilmMeta:
    """What the JSON of a film says, as far as readers use it: `Meta` without offsets.

    `width` and `height` are those of the frames that readers get: an ordinary build's, not the film's own.
    """

    __pydantic_config__ = schema.OPEN

    label: Label | None
    frames: Positive
    width: Side
    height: Side
    fps: Any = None
    text: Any = None


@dataclass(frozen=True)
class Meta:
    """What a sample's JSON says, as far as readers use it: `offsets` are the first byte of each JPEG in the blob.

    `fps` and `text` are shown to people, and may be anything.
    """

    __pydantic_config__ = schema.OPEN

    label: Label | None
    frames: Positive
    offsets: schema.Rows[Count]
    width: Side
    height: Side
    fps: Any = None
    text: Any = None

    def fault(self, row: SampleRow, blob: memoryview) -> str | None:
        """What in it is not so of the sample of `row`, whose JPEGs are `blob`, or None."""
        if (self.frames, len(self.offsets), self.label) != (row.frames, row.frames, row.label):
            return "its JSON and the sidecar disagree on frames or label"
        if fault := header.size_fault(self.width, self.height):
            return fault
        ends = [*self.offsets[1:], len(blob)]
        for i, (start, end) in enumerate(zip(self.offsets, ends, strict=True)):
            if start >= end or (start > 0) != (i > 0):
                return f"frame {i}: from byte {start} to {end} of its {len(blob)} bytes"
        return None


def member_fault(size: int) -> str | None:
    """Why no member of a tar may have so many bytes, or None: its header has eleven octal digits for them."""
    return f"more than {_MOST_BYTES} bytes of frames" if size > _MOST_BYTES else None


class Writer:
    """Writes samples to a stream, one after another, and knows afterwards what a sidecar must say."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self.position = 0
        self.rows: list[SampleRow] = []

    @property
    def sha256(self) -> str:
        """Over all that was written."""
        return self._sha256.hexdigest()

    def add(self, key: str, meta: dict[str, Any], jpegs: Iterable[bytes], size: int) -> None:
        """Append a sample of `size` bytes of JPEGs, one after another; `meta` has `label` and `frames`."""
        self.rows.append(SampleRow(*self._add(key, meta, "mjpeg", jpegs, size)))

    def add_film(self, key: str, meta: dict[str, Any], ending: str, film: bytes) -> None:
        """Append a sample that is a film, whose file has this `ending`."""
        self.rows.append(FilmRow(*self._add(key, meta, ending, [film], len(film))))

    def _add(
        self, key: str, meta: dict[str, Any], ending: str, pieces: Iterable[bytes], size: int
    ) -> tuple[str, int, int, int, Label | None, int]:
        start, self._crc = self.position, 0
        text = json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()
        self._put(_header(f"{key}.json", len(text)))
        self._put(text)
        self._pad(_BLOCK)
        self._put(_header(f"{key}.{ending}", size))
        for piece in pieces:
            self._put(piece)
        self._pad(_BLOCK)
        return key, start, self.position - start, self._crc, meta["label"], meta["frames"]

    def finish(self) -> None:
        """Write the end of the archive as every tar has it: two empty blocks, filled up to a record."""
        self._put(bytes(2 * _BLOCK))
        self._pad(tarfile.RECORDSIZE)

    def sidecar(self, name: str, failures: list[Failure], recipe: Recipe) -> Sidecar:
        """The sidecar of what was written."""
        return Sidecar(name, self.position, self.sha256, self.rows, failures, recipe)

    def film_sidecar(
        self, name: str, failures: list[Failure], recipe: Recipe, jpeg: JpegShard | None
    ) -> FilmSidecar:
        """The same of films."""
        return FilmSidecar(name, self.position, self.sha256, self.rows, failures, recipe, jpeg)  # type: ignore[arg-type]

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha256.update(data)
        self._crc = isal_zlib.crc32(data, self._crc)
        self.position += len(data)

    def _pad(self, unit: int) -> None:
        self._put(bytes(-self.position % unit))


def read_span(stream: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, or what is there of them.

    A stream reserves memory for all that it is asked for; it is asked for no more at once than most samples have.
    """
    if size <= _PIECE:
        return stream.read(size)
    pieces = []
    while size and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def unpack(row: SampleRow, span: bytes) -> tuple[Meta, memoryview]:
    """What the sample of `row` says of itself, and its Motion-JPEG blob without a copy.

    Raises ValueError where `span` is not that sample: its CRC-32 differs, its members are not there, its JSON is not
    that of a sample or contradicts the row, or its first JPEG is not of the size that the JSON states.
    """
    text, _, blob = _members(row, span, "mjpeg")
    meta = _parsed(Meta, text)
    if fault := meta.fault(row, blob):
        raise ValueError(fault)
    # Whoever goes on may reserve memory for frames of this size.
    header.of_frame(0, blob[meta.offsets[0] : (*meta.offsets, len(blob))[1]], (meta.width, meta.height))
    return meta, blob


class FilmFile(NamedTuple):
    """A film that lies in a shard: its file's name there, its bytes without a copy, and the JSON beside it."""

    name: str
    content: memoryview
    text: memoryview


def unpack_film(row: FilmRow, span: bytes) -> tuple[FilmMeta, FilmFile]:
    """What the sample of `row` says of itself, and its film.

    Raises ValueError where `span` is not that sample: see `unpack`.
    """
    text, name, film = _members(row, span, None)
    meta = _parsed(FilmMeta, text)
    if (meta.frames, meta.label) != (row.frames, row.label):
        raise ValueError("its JSON and the sidecar disagree on frames or label")
    if fault := header.size_fault(meta.width, meta.height):
        raise ValueError(fault)
    return meta, FilmFile(name, film, text)


def _members(row: SampleRow, span: bytes, ending: str | None) -> tuple[memoryview, str, memoryview]:
    """A sample's JSON, and its other member's name and content; that one has any ending if None is given."""
    if isal_zlib.crc32(span) != row.crc32:
        raise ValueError("its CRC-32 differs")
    view = memoryview(span)
    text, position = _member(view, 0, f"{row.key}.json")
    name = f"{row.key}.{ending}"
    if ending is None:
        found = _name(view, position)
        start, _, rest = found.rpartition(b".")
        if start != row.key.encode() or not rest.isalnum():
            raise ValueError(f"expected the film {row.key} at byte {position}, found {found!r}")
        name = found.decode()
    content, end = _member(view, position, name)
    if end != len(view):
        raise ValueError(f"{len(view) - end} bytes follow the sample")
    return text, name, content


def _parsed(kind: type[T], text: memoryview) -> T:
    try:
        return schema.parse(kind, text)
    except ValueError as error:
        raise ValueError(f"its JSON: {error}") from None


def _name(view: memoryview, position: int) -> bytes:
    """The name of the member at `position`: bytes 0-99 of its header."""
    return bytes(view[position : position + 100]).rstrip(b"\0")


def _member(view: memoryview, position: int, name: str) -> tuple[memoryview, int]:
    """A member's content, and where the next one begins. Size: octal in 124-135."""
    if (found := _name(view, position)) != name.encode():
        raise ValueError(f"expected member {name} at byte {position}, found {found!r}")
    digits = bytes(view[position + 124 : position + 136]).rstrip(b" \0")
    if not digits.isdigit():
        raise ValueError(f"member {name} has no size: {digits!r}")
    size = int(digits, 8)
    start = position + _BLOCK
    end = start + size + (-size % _BLOCK)
    if end > len(view):
        raise ValueError(f"member {name} ends at byte {end} of {len(view)}")
    return view[start : start + size], end


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8")
