"""One shard: a tar of samples, and its sidecar that says where each of them lies.

A sample is two members, `<key>.json` and then `<key>.mjpeg`. Its span is both members with their headers and
padding; a reader that knows the span's offset reads nothing else. The tar's headers hold no time and no user, so
equal samples give equal bytes.

In a set of films the second member is the film's own file, `<key>.webm` or another ending.
"""

import hashlib
import json
import tarfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, TypeVar

from isal import isal_zlib
from pydantic import AfterValidator, Field, StringConstraints

from sharding import storage
from sharding.errors import UserError
from sharding.format import header, schema
from sharding.format.keys import foreign_key_fault, key_fault

FORMAT = 1
INDEXED_FORMAT = 2
"""Of the index of tars that others made (`sharding.foreign`); programs that know version 1 alone refuse it."""
FILM_FORMAT = 3
"""Of shards that hold films as they came; programs that know versions 1 and 2 alone refuse it."""
_BLOCK = tarfile.BLOCKSIZE
_PIECE = 16 << 20
_MOST_BYTES = (8 << 30) - 1


def _sound_key(key: str) -> str:
    if fault := key_fault(key):
        raise ValueError(fault)
    return key


def _sound_foreign_key(key: str) -> str:
    if fault := foreign_key_fault(key):
        raise ValueError(fault)
    return key


T = TypeVar("T")
ForeignKey = Annotated[str, AfterValidator(_sound_foreign_key)]
Key = Annotated[str, AfterValidator(_sound_key)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TarName = Annotated[str, StringConstraints(pattern=r"^shard-[0-9]{6}\.tar$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Positive = Annotated[int, Field(ge=1, lt=1 << 53)]
Label = Annotated[Count | tuple[Count, ...], Field(union_mode="left_to_right")]
"""The index of a sample's class; where a set has several labels a sample, all of them, ascending."""
_Side = Annotated[int, Field(ge=1, le=header.MAX_SIDE)]


_LABELS, _SEVERAL = "labels", "several"
_LAYOUT, _WEBDATASET = "layout", "webdataset"
_STORE, _FILM = "store", "film"


def with_several_labels(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe of which each sample has a list of labels."""
    return {**settings, _LABELS: _SEVERAL}


def has_several_labels(settings: dict[str, Any]) -> bool:
    """Whether the samples of a set with these settings have a list of labels each; else it is one at most."""
    return settings.get(_LABELS) == _SEVERAL


def of_indexed_tars(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe whose samples lie in tars that others made."""
    return {_LAYOUT: _WEBDATASET, **settings}


def is_indexed(settings: dict[str, Any]) -> bool:
    """Whether the samples of a set with these settings lie in tars that others made; else they were built."""
    return settings.get(_LAYOUT) == _WEBDATASET


def has_films(settings: dict[str, Any]) -> bool:
    """Whether the shards of a set with these settings hold films as they came; else they hold JPEGs."""
    return settings.get(_STORE) == _FILM


def format_of(settings: dict[str, Any]) -> int:
    """The format version of the files of a set with these settings."""
    if has_films(settings):
        return FILM_FORMAT
    return INDEXED_FORMAT if is_indexed(settings) else FORMAT


@dataclass(frozen=True)
class SampleRow:
    """Where a sample lies in the tar (bytes), the CRC-32 (zlib's) of that span, its label and number of frames."""

    __pydantic_config__ = schema.EXACT

    key: Key
    offset: Count
    bytes: Positive
    crc32: Annotated[int, Field(ge=0, lt=1 << 32)]
    label: Label | None
    frames: Positive


@dataclass(frozen=True)
class IndexedRow(SampleRow):
    """A sample of a tar that others made. Its span begins where the one before ends, and ends with its last member.

    `parts`: where in the span each picture lies, (first byte, bytes), in the order of frames; or its one film.
    `width` and `height` of a frame as it is decoded, in pixels.
    """

    __pydantic_config__ = schema.EXACT

    key: ForeignKey
    kind: Literal["pictures", "film"]
    width: _Side
    height: _Side
    parts: schema.Rows[tuple[Count, Positive]]

    def fault(self) -> str | None:
        """What in it cannot be true of any sample, or None."""
        if len(self.parts) != (self.frames if self.kind == "pictures" else 1):
            return f"{len(self.parts)} parts for {self.frames} frames"
        if any(start + size > self.bytes for start, size in self.parts):
            return f"a part of it ends behind its {self.bytes} bytes"
        return header.size_fault(self.width, self.height)


@dataclass(frozen=True)
class FilmRow(SampleRow):
    """A sample that is a film as it came; `frames` are those that it decodes to."""

    __pydantic_config__ = schema.EXACT


@dataclass(frozen=True)
class JpegShard:
    """The size and SHA-256 of the shard of JPEGs that a shard of films becomes: what an ordinary build writes."""

    __pydantic_config__ = schema.EXACT

    bytes: Count
    sha256: Sha256


@dataclass(frozen=True)
class Failure:
    """A video that could not be used, and why."""

    __pydantic_config__ = schema.EXACT

    key: str
    reason: str


@dataclass(frozen=True)
class Recipe:
    """What a split is built from: equal recipes give equal bytes.

    `annotations` is a SHA-256 over the planned videos, `shards` the number of shards of the split.
    """

    __pydantic_config__ = schema.EXACT

    dataset: str
    split: str
    classes: schema.Rows[str]
    settings: dict[str, Any]
    annotations: str
    shards: Annotated[int, Field(ge=1, le=1_000_000)]  # as many as have names


@dataclass(frozen=True)
class Sidecar:
    """What is known of one shard: the tar's name, size and SHA-256, its samples in order, the failed videos."""

    __pydantic_config__ = schema.OPEN

    name: TarName
    bytes: Count
    sha256: Sha256
    samples: schema.Rows[SampleRow]
    failures: schema.Rows[Failure]
    recipe: Recipe

    def fault(self) -> str | None:
        """What in it cannot be true of any shard, or None."""
        if has_films(self.recipe.settings) != isinstance(self, FilmSidecar):
            return "its format and its settings disagree on whether it holds films"
        position, keys = 0, set()
        classes, several = len(self.recipe.classes), has_several_labels(self.recipe.settings)
        for row in self.samples:
            if row.offset != position:
                return f"sample {row.key}: at byte {row.offset}, should be at {position}"
            if row.label is not None and (fault := _label_fault(row.label, classes, several)):
                return f"sample {row.key}: {fault}"
            position += row.bytes
            keys.add(row.key)
        if position > self.bytes:
            return f"its samples end at byte {position} of {self.bytes}"
        if len(keys) < len(self.samples):
            return "a key appears twice"
        return None


@dataclass(frozen=True)
class IndexedSidecar(Sidecar):
    """The same of a tar that others made: `url` says where it lies, and `name` is only what its shard is called."""

    __pydantic_config__ = schema.OPEN

    samples: schema.Rows[IndexedRow]  # type: ignore[assignment] # nobody changes the list
    url: str

    def fault(self) -> str | None:
        """What in it cannot be true of any shard, or None."""
        if not is_indexed(self.recipe.settings):
            return "its settings are not those of an index"
        for row in self.samples:
            if fault := row.fault():
                return f"sample {row.key}: {fault}"
        return super().fault()


@dataclass(frozen=True)
class FilmSidecar(Sidecar):
    """The same of a shard of films; `jpeg` is what it becomes, where the build was told to compute that."""

    __pydantic_config__ = schema.OPEN

    samples: schema.Rows[FilmRow]  # type: ignore[assignment] # nobody changes the list
    jpeg: JpegShard | None = None


@dataclass(frozen=True)
class FilmMeta:
    """What the JSON of a film says, as far as readers use it: `Meta` without offsets.

    `width` and `height` are those of the frames that readers get: an ordinary build's, not the film's own.
    """

    __pydantic_config__ = schema.OPEN

    label: Label | None
    frames: Positive
    width: _Side
    height: _Side
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
    width: _Side
    height: _Side
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


def _label_fault(label: int | tuple[int, ...], classes: int, several: bool) -> str | None:
    """Why no sample may have this label in a set of so many classes, or None."""
    if isinstance(label, int):
        if several:
            return f"label {label}, where each sample has a list of them"
        return None if label < classes else f"label {label} of {classes} classes"
    if not several:
        return f"labels {list(label)}, where each sample has one"
    if not label or any(one >= other for one, other in pairwise(label)):
        return f"labels {list(label)}, which are to be one or more, ascending"
    return None if label[-1] < classes else f"label {label[-1]} of {classes} classes"


def member_fault(size: int) -> str | None:
    """Why no member of a tar may have so many bytes, or None: its header has eleven octal digits for them."""
    return f"more than {_MOST_BYTES} bytes of frames" if size > _MOST_BYTES else None


def tar_name(index: int) -> str:
    """The name of shard `index`."""
    return f"shard-{index:06d}.tar"


@dataclass(frozen=True)
class Place:
    """Where a shard lies: the URL of its split's folder, and the name of its tar there.

    `at`: the URL of its tar, where that lies elsewhere, under any name; the sidecar lies in the folder all the same.
    """

    folder: str
    tar_name: str
    at: str | None = None

    @property
    def sidecar_name(self) -> str:
        """The name of its sidecar."""
        return self.tar_name.removesuffix(".tar") + ".json"

    @property
    def tar_url(self) -> str:
        return self.at or storage.join(self.folder, self.tar_name)

    @property
    def sidecar_url(self) -> str:
        return storage.join(self.folder, self.sidecar_name)

    def is_among(self, names: Container[str]) -> bool:
        """Whether its tar and its sidecar are among the `names` in the folder."""
        return self.tar_name in names and self.sidecar_name in names


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


def save_sidecar(url: str, sidecar: Sidecar) -> None:
    """Publish a sidecar. Its tar must be there already: the sidecar is what makes it count."""
    storage.write_bytes(url, sidecar_bytes(sidecar))


def sidecar_bytes(sidecar: Sidecar) -> bytes:
    """The file of a sidecar."""
    if isinstance(sidecar, IndexedSidecar):
        return _indexed_bytes(sidecar)
    content = {"format": format_of(sidecar.recipe.settings), **asdict(sidecar)}
    if content.get("jpeg", ...) is None:
        del content["jpeg"]
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _indexed_bytes(sidecar: IndexedSidecar) -> bytes:
    """A line a sample: there may be ten thousand of them."""
    about = {"format": INDEXED_FORMAT, **vars(sidecar), "recipe": vars(sidecar.recipe)}
    about["failures"] = [vars(failure) for failure in sidecar.failures]
    rows = [json.dumps(vars(row), ensure_ascii=False, separators=(",", ":")) for row in about.pop("samples")]
    head = json.dumps(about, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{head},\n "samples": [{",".join(f"{chr(10)}  {row}" for row in rows)}\n ]\n}}\n'.encode()


def load_sidecar(url: str) -> Sidecar:
    """Read a sidecar. Raises `UserError` where it is missing or malformed."""
    return parse_sidecar(url, storage.read_bytes(url))


def parse_sidecar(url: str, data: bytes) -> Sidecar:
    """The same from `data`, which was read from `url`."""
    remedy = "run blvnet-shard build --repair, or index, whichever made it"
    kinds: dict[int, type[Sidecar]] = {
        FORMAT: Sidecar,
        INDEXED_FORMAT: IndexedSidecar,
        FILM_FORMAT: FilmSidecar,
    }
    sidecar = parse_file(kinds, url, data, "a shard's sidecar", remedy)
    if fault := sidecar.fault():
        raise UserError(f"{url}: not a shard's sidecar ({fault}); {remedy}")
    return sidecar


@dataclass(frozen=True)
class _Versioned:
    __pydantic_config__ = schema.OPEN

    format: Any = None


def parse_file(kinds: Mapping[int, type[T]], url: str, data: bytes, what: str, remedy: str) -> T:
    """What `data` says, which was read from `url`, and is `what`: of the kind that its format version has.

    Raises `UserError` for anything else, with the `remedy`.
    """
    try:
        found = schema.parse(_Versioned, data).format
        if type(found) is int and found in kinds:
            return schema.parse(kinds[found], data)
    except ValueError as error:
        raise UserError(f"{url}: not {what} ({error}); {remedy}") from None
    known = [f"{version}{_FORMATS[version]}" for version in sorted(kinds)]
    versions = " and ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)
    raise UserError(f"{url}: format version {found!r}, this program reads version {versions}")


_FORMATS = {FORMAT: "", INDEXED_FORMAT: " of an index", FILM_FORMAT: " of films"}


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
