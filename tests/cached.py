"""Reading through a cache of shards, for tests and the processes that they start: loads nothing heavy."""

from pathlib import Path

from pipeline.data.cache import CachedShards, ShardCache
from pipeline.data.shards import StoredShards
from sharding.format import manifest
from sharding.format.manifest import Manifest

LARGE = 10**9


def cached(split: Manifest, folder: Path, budget: int = LARGE) -> CachedShards:
    return CachedShards(StoredShards(split), ShardCache(str(folder), budget))


def read(source: CachedShards, shard: int, first: int = 0, stop: int | None = None) -> list[bytes]:
    rows = source.rows(shard)[first:stop]
    with source.open(shard, rows) as stream:
        return [stream.read(row.bytes) for row in rows]


def tars(folder: Path, split: Manifest) -> list[bytes]:
    """The shards that are kept in whole; sidecars, which are kept too, are smaller than any."""
    least = min(shard.bytes for shard in split.shards)
    found = [path.read_bytes() for path in folder.glob("*.kept")]
    return [content for content in found if len(content) >= least]


def content(split: Manifest, shard: int) -> bytes:
    return Path(split.shard_url(shard)).read_bytes()


def spans(split: Manifest, shard: int) -> list[bytes]:
    whole = content(split, shard)
    return [whole[r.offset : r.offset + r.bytes] for r in StoredShards(split).rows(shard)]


def read_all(url: str, folder: Path, budget: int) -> None:
    """Read every shard of a split several times, each in whole."""
    split = manifest.load(url)
    source = cached(split, folder, budget)
    for _ in range(3):
        for shard in range(len(split.shards)):
            assert read(source, shard) == spans(split, shard)
