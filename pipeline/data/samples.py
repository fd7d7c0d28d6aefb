"""What lies in a sample's span of a shard, once it is known to be whole."""

from dataclasses import dataclass

from sharding.errors import UserError
from sharding.format.shard import Meta, SampleRow, unpack


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
    """One sample: the sidecar's row, the shard's URL, what its `.json` member says, and its Motion-JPEG blob."""

    row: SampleRow
    url: str
    meta: Meta
    blob: memoryview


def checked(span: Span) -> Sample:
    """The sample in `span`, not copied. Raises `DamagedError` where it is not what its row says (`shard.unpack`)."""
    row, size = span.row, len(span.content)
    where = f"sample {row.key}, bytes {row.offset} to {row.offset + row.bytes}"
    remedy = "run blvnet-shard verify, and build --repair"
    if size < row.bytes:
        end = f"ends at byte {row.offset + size}, inside" if size else "ends before"
        raise DamagedError(f"{span.url}: {end} {where}; {remedy}")
    try:
        meta, blob = unpack(row, span.content)
    except ValueError as error:
        raise DamagedError(f"{span.url}: {where}: damaged, {error}; {remedy}") from None
    return Sample(row, span.url, meta, blob)
