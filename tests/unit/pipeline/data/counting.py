"""Shards that know what was read of them."""

from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.data.shards import StoredShards
from sharding.format.rows import SampleRow


@dataclass(frozen=True)
class Counting(StoredShards):
    """Opens shards, and keeps what was asked for: shard, first byte, end."""

    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        self.asked.append((shard, rows[0].offset, rows[-1].offset + rows[-1].bytes))
        return super().open(shard, rows)

    def bytes(self) -> int:
        return sum(end - offset for _, offset, end in self.asked)
