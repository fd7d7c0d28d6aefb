"""The manifest of a split: which shards there are and what is in them. Readers start here; it is written last."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sharding import storage
from sharding.errors import UserError
from sharding.format import recipe as recipes
from sharding.format import schema
from sharding.format.kinds import (
    FILM_FORMAT,
    FORMAT,
    INDEXED_FORMAT,
    format_of,
    has_films,
    has_several_labels,
    is_indexed,
    parse_file,
)
from sharding.format.rows import Count
from sharding.format.sidecar import (
    Failure,
    FilmSidecar,
    IndexedSidecar,
    JpegShard,
    Place,
    Recipe,
    Sha256,
    Sidecar,
    TarName,
    load_sidecar,
    parse_sidecar,
    tar_name,
)
from sharding.format.soundness import OtherRecipeError, at_once, difference, examine

Content = bytes  # a manifest has a field of that name
NAME = "manifest.json"
FAILURES_NAME = "failures.csv"
_LEAST_BYTES = 4 * 512  # two members, each a header and a block of content
_SIDECAR = re.compile(r"shard-\d{6}\.json")
_OF_A_SPLIT = re.compile(r"(manifest|recipe|shard-\d{6})\.json")


@dataclass(frozen=True)
class ShardRow:
    """One shard: the tar's name, size and SHA-256, the number of its samples and of their frames."""

    __pydantic_config__ = schema.EXACT

    name: TarName
    bytes: Count
    sha256: Sha256
    samples: Count
    frames: Count

    @property
    def is_possible(self) -> bool:
        """Whether so many samples fit in so many bytes: each has two members, with a block of header each."""
        return self.samples * _LEAST_BYTES <= self.bytes and self.samples <= self.frames

    def at(self) -> str | None:
        """The URL of its tar, where that does not lie beside the manifest."""
        return None

    def becomes(self) -> JpegShard | None:
        """Of a shard of films the shard of JPEGs that it becomes, where that is known."""
        return None


@dataclass(frozen=True)
class IndexedShardRow(ShardRow):
    """The same of a tar that others made, which lies at `url`."""

    __pydantic_config__ = schema.EXACT

    url: str

    @property
    def is_possible(self) -> bool:
        """A sample may be a single member."""
        return self.samples * _LEAST_BYTES <= 2 * self.bytes and self.samples <= self.frames

    def at(self) -> str | None:
        """The URL of its tar."""
        return self.url


@dataclass(frozen=True)
class FilmShardRow(ShardRow):
    """The same of a shard of films; `jpeg` is what it becomes, where the build was told to compute that."""

    __pydantic_config__ = schema.EXACT

    jpeg: JpegShard | None = None

    def becomes(self) -> JpegShard | None:
        """The shard of JPEGs that it becomes, where that is known."""
        return self.jpeg


@dataclass(frozen=True)
class _File:
    """What the manifest's file holds."""

    __pydantic_config__ = schema.OPEN

    dataset: str
    split: str
    classes: schema.Rows[str]
    settings: dict[str, Any]
    shards: schema.Rows[ShardRow]
    failures: schema.Rows[Failure]
    samples: Count
    frames: Count
    bytes: Count

    def fault(self) -> str | None:
        """What in it cannot be true of any split, or None."""
        if has_films(self.settings) != isinstance(self, _FilmFile):
            return "its format and its settings disagree on whether it holds films"
        names: set[str] = set()
        for row in self.shards:
            if row.name in names:
                return f"{row.name} is in it twice"
            if not row.is_possible:
                return f"{row.name}: {row.samples} samples with {row.frames} frames in {row.bytes} bytes"
            names.add(row.name)
        totals = [sum(getattr(row, name) for row in self.shards) for name in ("samples", "frames", "bytes")]
        if totals != [self.samples, self.frames, self.bytes]:
            return "its totals are not the sums of its shards"
        return None


@dataclass(frozen=True)
class _IndexedFile(_File):
    """What the manifest's file of an index holds."""

    __pydantic_config__ = schema.OPEN

    shards: schema.Rows[IndexedShardRow]  # type: ignore[assignment] # nobody changes the list

    def fault(self) -> str | None:
        """What in it cannot be true of any index, or None."""
        return super().fault() if is_indexed(self.settings) else "its settings are not those of an index"


@dataclass(frozen=True)
class _FilmFile(_File):
    """What the manifest's file holds of a set of films."""

    __pydantic_config__ = schema.OPEN

    shards: schema.Rows[FilmShardRow]  # type: ignore[assignment] # nobody changes the list


@dataclass(frozen=True)
class Manifest:
    """One split of a shard set. `root` is the URL of its folder, `sha256` that of the manifest file itself."""

    root: str
    dataset: str
    split: str
    classes: list[str]
    settings: dict[str, Any]
    shards: list[ShardRow]
    failures: list[Failure]
    samples: int
    frames: int
    bytes: int
    sha256: str

    @property
    def indexed(self) -> bool:
        """Whether its tars are others', which were indexed where they lie; else they were built."""
        return is_indexed(self.settings)

    @property
    def of_films(self) -> bool:
        """Whether its shards hold films as they came; else they hold pictures, or whatever an index finds."""
        return has_films(self.settings)

    @property
    def several_labels(self) -> bool:
        """Whether its samples have a list of labels each; else it is one at most."""
        return has_several_labels(self.settings)

    def line(self) -> str:
        """A summary for the user."""
        failed = f", {len(self.failures)} failures" if self.failures else ""
        things = "samples" if self.indexed else "videos"
        return f"{self.root}: {self.samples} {things}, {self.bytes / 1e6:.1f} MB, {len(self.shards)} shards{failed}"

    def place(self, i: int) -> Place:
        """Where shard `i` lies."""
        row = self.shards[i]
        return Place(self.root, row.name, row.at())

    def shard_url(self, i: int) -> str:
        """The URL of shard `i`'s tar."""
        return self.place(i).tar_url

    def sidecar_url(self, i: int) -> str:
        """The URL of shard `i`'s sidecar."""
        return self.place(i).sidecar_url

    def sidecar(self, i: int) -> Sidecar:
        """Shard `i`'s sidecar, as it is today. `UserError` where it is not the one that this was made from."""
        return self.parse_sidecar(i, storage.read_bytes(self.sidecar_url(i)))

    def parse_sidecar(self, i: int, data: Content) -> Sidecar:
        """The same from `data`, which was read before."""
        url, row = self.sidecar_url(i), self.shards[i]
        sidecar = parse_sidecar(url, data)
        recipe = sidecar.recipe
        found = (sidecar.name, sidecar.bytes, sidecar.sha256, len(sidecar.samples), recipe.classes)
        same_labels = has_several_labels(recipe.settings) == self.several_labels
        today = entry(sidecar).row
        same_rest = (today.at(), today.becomes()) == (row.at(), row.becomes())
        same = found == (row.name, row.bytes, row.sha256, row.samples, self.classes)
        if not (same and same_labels and same_rest):
            remedy = "index again" if self.indexed else "run blvnet-shard finalize"
            raise UserError(f"{url}: not the sidecar that the manifest was made from; {remedy}")
        return sidecar

    def sidecars(self) -> list[Sidecar]:
        """Of all shards, in order, as they are today, each this manifest's."""
        return at_once(self.sidecar, range(len(self.shards)))


def load(url: str) -> Manifest:
    """The manifest of a split, from the URL of its folder (`<root>/<split>`) or of its `manifest.json`.

    Raises `UserError` where it is missing, malformed or contradicts itself.
    """
    file = url if url.endswith(".json") else storage.join(url, NAME)
    root = file.rpartition("/")[0] or "."
    if not storage.exists(file):
        raise UserError(f"{file}: no such manifest; build the split, or finish it with blvnet-shard finalize")
    data = storage.read_bytes(file)
    remedy = "run blvnet-shard finalize, or index, whichever made it"
    kinds: dict[int, type[_File]] = {FORMAT: _File, INDEXED_FORMAT: _IndexedFile, FILM_FORMAT: _FilmFile}
    found = parse_file(kinds, file, data, "a manifest", remedy)
    if fault := found.fault():
        raise UserError(f"{file}: {fault}; {remedy}")
    return Manifest(root=root, sha256=hashlib.sha256(data).hexdigest(), **vars(found))


def splits(root: str) -> list[str]:
    """The splits of a shard set, whatever their names: the folders in it that have a manifest, a recipe or a shard.

    Train, validation and test come first.
    """
    folders = storage.list_folders(root)
    listings = at_once(lambda name: storage.list_names(storage.join(root, name)), folders)
    found = (
        folder
        for folder, names in zip(folders, listings, strict=True)
        if any(map(_OF_A_SPLIT.fullmatch, names))
    )
    usual = ("train", "validation", "test")
    return sorted(found, key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def some_splits(root: str) -> list[str]:
    """The same. Raises `UserError` where there is none."""
    found = splits(root)
    if not found:
        raise UserError(f"{root}: no splits of a shard set in it; give the --out of the build, or --split")
    return found


class Entry(NamedTuple):
    """What a manifest keeps of a sidecar."""

    row: ShardRow
    failures: list[Failure]


def entry(sidecar: Sidecar) -> Entry:
    """What a manifest keeps of this one."""
    frames = sum(row.frames for row in sidecar.samples)
    about = sidecar.name, sidecar.bytes, sidecar.sha256, len(sidecar.samples), frames
    match sidecar:
        case IndexedSidecar():
            return Entry(IndexedShardRow(*about, sidecar.url), sidecar.failures)
        case FilmSidecar():
            return Entry(FilmShardRow(*about, sidecar.jpeg), sidecar.failures)
    return Entry(ShardRow(*about), sidecar.failures)


def finalize(url: str, known: Mapping[Place, Entry] | None = None) -> Manifest:
    """Write the manifest of the split at `url` (`<root>/<split>`), and `failures.csv`, from its sidecars.

    `known`: what is kept of those that the caller has read and found sound; they are not read again. Raises `UserError`
    where shards are missing, naming them, or not sound, or were built from different things.
    """
    names = set(storage.list_names(url))
    found = sorted(name for name in names if _SIDECAR.fullmatch(name))
    if not found:
        raise UserError(f"{url}: no shards in it; build them first")
    # Releases before 0.2 wrote no recipe.
    of = recipes.NAME if recipes.NAME in names else found[0]
    recipe = recipes.load(url) if of == recipes.NAME else load_sidecar(storage.join(url, of)).recipe
    if is_indexed(recipe.settings):
        raise UserError(f"{url}: an index of others' tars; run blvnet-shard index again instead")
    places = [Place(url, tar_name(i)) for i in range(recipe.shards)]
    _check_complete(url, places, names)
    if strange := sorted(set(found) - {place.sidecar_name for place in places}):
        raise UserError(
            f"{storage.join(url, strange[0])}: there are {len(places)} shards, not so many; remove it"
        )
    entry_of = dict(known or {})
    unread = [place for place in places if place not in entry_of]
    for place, sound in zip(unread, examine(unread, recipe, entry), strict=True):
        if isinstance(sound, OtherRecipeError):
            other = difference(sound.sidecar.recipe, recipe)
            raise UserError(f"{place.sidecar_url}: built from other things than {of}: {other}")
        if isinstance(sound, UserError):
            raise sound
        entry_of[place] = sound
    return save(url, recipe, [entry_of[place] for place in places])


def save(url: str, recipe: Recipe, entries: list[Entry]) -> Manifest:
    """Write the manifest of the split at `url`, whose shards are there, and `failures.csv`."""
    storage.write_bytes(storage.join(url, FAILURES_NAME), _failures_csv(entries))
    text = json.dumps(_content(recipe, entries), ensure_ascii=False, indent=1) + "\n"
    storage.write_bytes(storage.join(url, NAME), text.encode())
    return load(url)


def agrees(made: Manifest) -> bool:
    """Whether the manifest's file says what the sidecars say today."""
    entries = at_once(lambda i: entry(made.sidecar(i)), range(len(made.shards)))
    content = _content(made.sidecar(0).recipe, entries)
    return bool(json.loads(storage.read_bytes(storage.join(made.root, NAME))) == content)


def _check_complete(url: str, places: list[Place], names: set[str]) -> None:
    missing = [place.tar_name for place in places if not place.is_among(names)]
    if missing:
        some = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise UserError(
            f"{url}: {len(missing)} of {len(places)} shards are missing: {some}; run their build again"
        )


def _content(recipe: Recipe, entries: list[Entry]) -> dict[str, Any]:
    rows = [entry.row for entry in entries]
    return {
        "format": format_of(recipe.settings),
        "dataset": recipe.dataset,
        "split": recipe.split,
        "samples": sum(r.samples for r in rows),
        "frames": sum(r.frames for r in rows),
        "bytes": sum(r.bytes for r in rows),
        "settings": recipe.settings,
        "annotations": recipe.annotations,
        "classes": recipe.classes,
        "shards": [{name: value for name, value in asdict(row).items() if value is not None} for row in rows],
        "failures": [asdict(failure) for entry in entries for failure in entry.failures],
    }


def _failures_csv(entries: list[Entry]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "reason", "shard"))
    writer.writerows((f.key, f.reason, e.row.name) for e in entries for f in e.failures)
    return text.getvalue().encode()
