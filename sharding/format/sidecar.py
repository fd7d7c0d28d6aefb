"""What is known of one shard, in a file of its own: it is written after the tar, and makes the shard count as built."""

import json
from collections.abc import Container
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from sharding import storage
from sharding.errors import UserError
from sharding.format import kinds, schema
from sharding.format.rows import Count, FilmRow, IndexedRow, SampleRow

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TarName = Annotated[str, StringConstraints(pattern=r"^shard-[0-9]{6}\.tar$")]


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
        if kinds.has_films(self.recipe.settings) != isinstance(self, FilmSidecar):
            return "its format and its settings disagree on whether it holds films"
        position, keys = 0, set()
        classes, several = len(self.recipe.classes), kinds.has_several_labels(self.recipe.settings)
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
        if not kinds.is_indexed(self.recipe.settings):
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


def save_sidecar(url: str, sidecar: Sidecar) -> None:
    """Publish a sidecar. Its tar must be there already: the sidecar is what makes it count."""
    storage.write_bytes(url, sidecar_bytes(sidecar))


def sidecar_bytes(sidecar: Sidecar) -> bytes:
    """The file of a sidecar."""
    if isinstance(sidecar, IndexedSidecar):
        return _indexed_bytes(sidecar)
    content = {"format": kinds.format_of(sidecar.recipe.settings), **asdict(sidecar)}
    if content.get("jpeg", ...) is None:
        del content["jpeg"]
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _indexed_bytes(sidecar: IndexedSidecar) -> bytes:
    """A line a sample: there may be ten thousand of them."""
    about = {"format": kinds.INDEXED_FORMAT, **vars(sidecar), "recipe": vars(sidecar.recipe)}
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
    known: dict[int, type[Sidecar]] = {
        kinds.FORMAT: Sidecar,
        kinds.INDEXED_FORMAT: IndexedSidecar,
        kinds.FILM_FORMAT: FilmSidecar,
    }
    sidecar = kinds.parse_file(known, url, data, "a shard's sidecar", remedy)
    if fault := sidecar.fault():
        raise UserError(f"{url}: not a shard's sidecar ({fault}); {remedy}")
    return sidecar
