"""One shard: a tar of samples, and its sidecar that says where each of them lies.

A sample is two members, `<key>.json` and then `<key>.mjpeg`. Its span is both members with their headers and
padding; a reader that knows the span's offset reads nothing else. The tar's headers hold no time and no user, so
equal samples give equal bytes.
"""

import hashlib
import json
import tarfile
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from isal import isal_zlib

from sharding import storage
from sharding.errors import UserError

FORMAT = 1
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class SampleRow:
    """Where a sample lies in the tar (bytes), the CRC-32 (zlib's) of that span, its label and number of frames."""

    key: str
    offset: int
    bytes: int
    crc32: int
    label: int | None
    frames: int


@dataclass(frozen=True)
class Failure:
    """A video that could not be used, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Recipe:
    """What a split is built from: equal recipes give equal bytes.

    `annotations` is a SHA-256 over the planned videos, `shards` the number of shards of the split.
    """

    dataset: str
    split: str
    classes: list[str]
    settings: dict[str, Any]
    annotations: str
    shards: int


@dataclass(frozen=True)
class Sidecar:
    """What is known of one shard: the tar's name, size and SHA-256, its samples in order, the failed videos."""

    name: str
    bytes: int
    sha256: str
    samples: list[SampleRow]
    failures: list[Failure]
    recipe: Recipe


def tar_name(index: int) -> str:
    """The name of shard `index`."""
    return f"shard-{index:06d}.tar"


@dataclass(frozen=True)
class Place:
    """Where a shard lies: the URL of its split's folder, and the name of its tar there."""

    folder: str
    tar_name: str

    @property
    def sidecar_name(self) -> str:
        """The name of its sidecar."""
        return self.tar_name.removesuffix(".tar") + ".json"

    @property
    def tar_url(self) -> str:
        return storage.join(self.folder, self.tar_name)

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

    def add(self, key: str, meta: dict[str, Any], jpegs: Iterable[bytes], size: int) -> None:
        """Append a sample of `size` bytes of JPEGs, one after another; `meta` has `label` and `frames`."""
        start, self._crc = self.position, 0
        text = json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()
        self._put(_header(f"{key}.json", len(text)))
        self._put(text)
        self._pad(_BLOCK)
        self._put(_header(f"{key}.mjpeg", size))
        for jpeg in jpegs:
            self._put(jpeg)
        self._pad(_BLOCK)
        self.rows.append(
            SampleRow(key, start, self.position - start, self._crc, meta["label"], meta["frames"])
        )

    def finish(self) -> None:
        """Write the end of the archive as every tar has it: two empty blocks, filled up to a record."""
        self._put(bytes(2 * _BLOCK))
        self._pad(tarfile.RECORDSIZE)

    def sidecar(self, name: str, failures: list[Failure], recipe: Recipe) -> Sidecar:
        """The sidecar of what was written."""
        return Sidecar(name, self.position, self._sha256.hexdigest(), self.rows, failures, recipe)

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha256.update(data)
        self._crc = isal_zlib.crc32(data, self._crc)
        self.position += len(data)

    def _pad(self, unit: int) -> None:
        self._put(bytes(-self.position % unit))


def save_sidecar(url: str, sidecar: Sidecar) -> None:
    """Publish a sidecar. Its tar must be there already: the sidecar is what makes it count."""
    text = json.dumps({"format": FORMAT, **asdict(sidecar)}, ensure_ascii=False, indent=1)
    storage.write_bytes(url, (text + "\n").encode())


def load_sidecar(url: str) -> Sidecar:
    """Read a sidecar. Raises `UserError` where it is missing or malformed."""
    return parse_sidecar(url, storage.read_bytes(url))


def parse_sidecar(url: str, data: bytes) -> Sidecar:
    """The same from `data`, which was read from `url`."""
    content = parse_json(url, data)
    try:
        return Sidecar(
            name=content["name"],
            bytes=content["bytes"],
            sha256=content["sha256"],
            samples=[SampleRow(**row) for row in content["samples"]],
            failures=load_failures(content["failures"]),
            recipe=Recipe(**content["recipe"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{url}: not a shard's sidecar ({error}); run blvnet-shard build --repair") from None


def load_failures(rows: Iterable[dict[str, str]]) -> list[Failure]:
    """The failures in a sidecar or manifest."""
    return [Failure(**row) for row in rows]


def load_json(url: str) -> dict[str, Any]:
    """The JSON object of this format version at `url`. Raises `UserError` for anything else."""
    return parse_json(url, storage.read_bytes(url))


def parse_json(url: str, data: bytes) -> dict[str, Any]:
    """The same from `data`, which was read from `url`."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError(f"found {type(content).__name__}, expected an object")
    except ValueError as error:
        raise UserError(f"{url}: not valid JSON ({error}); run blvnet-shard build --repair") from None
    if content.get("format") != FORMAT:
        found = content.get("format")
        raise UserError(f"{url}: format version {found!r}, this program reads version {FORMAT}")
    return content


def unpack(span: bytes) -> tuple[dict[str, Any], memoryview]:
    """A sample's JSON, and its Motion-JPEG blob without a copy. Raises ValueError where it is no such span."""
    view = memoryview(span)
    text, position = _member(view, 0, b".json")
    blob, end = _member(view, position, b".mjpeg")
    if end != len(view):
        raise ValueError(f"{len(view) - end} bytes follow the sample")
    return json.loads(bytes(text)), blob


def _member(view: memoryview, position: int, suffix: bytes) -> tuple[memoryview, int]:
    """A member's content, and where the next one begins. Name: bytes 0-99, size: octal in 124-135."""
    header = bytes(view[position : position + _BLOCK])
    name = header[:100].rstrip(b"\0")
    if not name.endswith(suffix):
        raise ValueError(f"expected a member *{suffix.decode()} at byte {position}, found {name!r}")
    size = int(header[124:136].rstrip(b" \0"), 8)
    start = position + _BLOCK
    end = start + size + (-size % _BLOCK)
    if end > len(view):
        raise ValueError(f"member {name!r} ends at byte {end} of {len(view)}")
    return view[start : start + size], end


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8")
