"""Where the shards of a split come from: what a source of shards is, and the one that asks the store."""

from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.shard import SampleRow, parse_sidecar


class Shards(Protocol):
    """Where the shards of a split come from, the one way that their bytes come in: the store, or a cache before it.

    Loader workers get a pickled copy.
    """

    @property
    def reads_to_the_end(self) -> bool:
        """Whether an epoch's last, partial batch is to be read although it is not used."""
        ...

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in shard number `shard`, from its sidecar."""
        ...

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of `rows`, which lie next to one another, to be read row by row; fewer where the shard ends."""
        ...


@dataclass(frozen=True)
class StoredShards:
    """The shards of a split in their store, which is asked for the bytes of the rows and no others."""

    reads_to_the_end: ClassVar[bool] = False

    manifest: Manifest

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in shard number `shard`."""
        return rows_in(self.manifest, shard, storage.read_bytes(self.manifest.sidecar_url(shard)))

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of these rows."""
        end = rows[-1].offset + rows[-1].bytes
        return storage.open_read(self.manifest.shard_url(shard), rows[0].offset, end)


def rows_in(manifest: Manifest, shard: int, data: bytes) -> list[SampleRow]:
    """The rows in `data`, the sidecar of a shard. `UserError` where it is another one's."""
    url = manifest.sidecar_url(shard)
    sidecar = parse_sidecar(url, data)
    expected = manifest.shards[shard]
    if (sidecar.sha256, len(sidecar.samples)) != (expected.sha256, expected.samples):
        raise UserError(f"{url}: not the sidecar that the manifest was made from; run blvnet-shard finalize")
    return sidecar.samples
