"""What lies in a sample's span of a shard, once it is known to be whole."""

from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from sharding.errors import UserError
from sharding.format.shard import SampleRow, unpack


class DamagedError(UserError):
    """A sample that is not what its sidecar says: cut short, changed, or of no use to the decoder."""


@dataclass(frozen=True)
class Span:
    """The bytes that were read for one sample: the sidecar's row, the shard's URL, and what lay there."""

    row: SampleRow
    url: str
    content: bytes


@dataclass(frozen=True)
class Sample:
    """One sample: the sidecar's row, the shard's URL, the content of its `.json` member, and its Motion-JPEG blob."""

    row: SampleRow
    url: str
    meta: dict[str, Any]
    blob: memoryview


def checked(span: Span) -> Sample:
    """The sample in `span`, not copied. Raises `DamagedError` where it is cut short or has another CRC-32."""
    row, size = span.row, len(span.content)
    where = f"sample {row.key}, bytes {row.offset} to {row.offset + row.bytes}"
    remedy = "run blvnet-shard verify, and build --repair"
    if size < row.bytes:
        end = f"ends at byte {row.offset + size}, inside" if size else "ends before"
        raise DamagedError(f"{span.url}: {end} {where}; {remedy}")
    if isal_zlib.crc32(span.content) != row.crc32:
        raise DamagedError(f"{span.url}: {where}: damaged, its CRC-32 differs from the sidecar's; {remedy}")
    try:
        meta, blob = unpack(span.content)
    except ValueError as error:
        raise DamagedError(f"{span.url}: {where}: not a sample: {error}; {remedy}") from None
    return Sample(row, span.url, meta, blob)
