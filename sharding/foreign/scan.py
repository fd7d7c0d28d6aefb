"""One tar, read once from its beginning to its end: which samples it holds, and where each of them lies."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from isal import isal_zlib

from sharding import storage
from sharding.errors import UserError
from sharding.foreign import content, grouping
from sharding.foreign.content import Content
from sharding.foreign.grouping import Group
from sharding.foreign.labels import Rule, Said
from sharding.foreign.members import Member, Members
from sharding.foreign.tape import Tape
from sharding.format.keys import foreign_key_fault
from sharding.format.sidecar import Failure
from sharding.sources.fault import Unusable
from sharding.workers import pool

_BLOCK = 512


@dataclass(frozen=True)
class Request:
    """A tar, and what is to be taken of its samples; `member` is the ending of the member that is used, if given."""

    url: str
    label: Rule
    member: str | None


@dataclass(frozen=True)
class Found:
    """A sample, as `IndexedRow` will say it, but for its label: that one is as it is written."""

    key: str
    offset: int
    bytes: int
    crc32: int
    label: Said
    content: Content


@dataclass
class Scanned:
    """What is in a tar. `notes` are for the user to read."""

    bytes: int = 0
    sha256: str = ""
    samples: list[Found] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan(request: Request, report: pool.Report) -> Scanned:
    """Read the tar at `request.url`. `report` hears of each sample.

    A sample's span begins where the one before it ends: what lies between, such as a sample that cannot be used, is
    part of it, so that spans are read one after another without a gap. Raises `UserError` for a tar that is not read.
    """
    url, result = request.url, Scanned()
    with storage.open_read(url) as stream:
        tape = Tape(stream)
        inside = Members(tape, url)

        def read(member: Member) -> bytes:
            return tape.content(member.content, member.content + member.size)

        start = 0
        for group in grouping.groups(inside, url):
            report(group.key)
            if fault := foreign_key_fault(group.key):
                raise UserError(f"{url}: the name of sample {group.key!r} {fault}; rename its members")
            try:
                found = content.find(group, request.member, read, url)
                label = request.label.of(group, read)
            except Unusable as reason:
                result.failures.append(Failure(group.key, str(reason)))
                continue
            span = tape.content(start, group.end)
            result.samples.append(
                Found(group.key, start, len(span), isal_zlib.crc32(span), label, _inside(found, start))
            )
            start = group.end
            tape.forget(start - _BLOCK)
        result.notes += inside.finish()
        result.bytes, result.sha256 = tape.end, tape.sha256
    return result


def in_worker(request: Request, report: pool.Report) -> Scanned:
    """The same in a process of its own."""
    grouping.load_webdataset()
    return scan(request, report)


def first_group(url: str) -> Group | None:
    """The first sample of a tar, of which not much more is read; None where there is none."""
    with storage.open_read(url) as stream:
        found: Iterator[Group] = grouping.groups(Members(Tape(stream), url), url)
        return next(found, None)


def _inside(found: Content, start: int) -> Content:
    parts = [(place - start, size) for place, size in found.parts]
    return Content(found.kind, found.width, found.height, found.frames, parts)
