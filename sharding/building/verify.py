"""Check shards against what is written of them: sizes, SHA-256, each sample's CRC-32, and that every JPEG decodes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from sharding import storage
from sharding.errors import UserError
from sharding.foreign import sample
from sharding.format import manifest, shard, soundness
from sharding.format.manifest import ShardRow
from sharding.format.rows import SampleRow
from sharding.format.sidecar import Place, Sidecar, load_sidecar
from sharding.workers import pool, progress

_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Target:
    """One shard to check. `row` is what the manifest says of it, where there is one."""

    place: Place
    samples: int
    row: ShardRow | None = None


@dataclass
class Report:
    """What was checked in one split, and what is wrong: the problems by the name of the shard or file."""

    url: str
    shards: int = 0
    samples: int = 0
    bytes: int = 0
    failures: int = 0
    indexed: bool = False
    problems: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For the user, shard by shard."""
        total = f"{self.shards} shards, {self.samples} samples, {self.bytes / 1e6:.1f} MB"
        if self.failures:
            things = "samples" if self.indexed else "videos"
            total += f", {self.failures} {things} could not be used"
        if not self.problems:
            return [f"{self.url}: {total}: all as {'indexed' if self.indexed else 'built'}"]
        lines = [f"{self.url}: {total}: {len(self.problems)} damaged:"]
        for name, problems in sorted(self.problems.items()):
            shown = problems[:3] + ([f"and {len(problems) - 3} more"] if len(problems) > 3 else [])
            lines.append(f"  {name}: {'; '.join(shown)}")
        return lines


def verify(url: str, workers: int) -> Report:
    """Check the split at `url` (`<root>/<split>`) against its manifest, in `workers` processes under a progress bar.

    Raises `UserError` where there is no manifest to check against.
    """
    made = manifest.load(url)
    report = Report(made.root, len(made.shards), made.samples, made.bytes, len(made.failures), made.indexed)
    targets = [Target(made.place(i), row.samples, row) for i, row in enumerate(made.shards)]
    damaged = check(targets, workers, f"verify {made.split}")
    report.problems = {
        target.place.at or target.place.tar_name: problems for target, problems in damaged.items()
    }
    listed = {row.name for row in made.shards}
    for name in [] if made.indexed else storage.list_names(made.root):
        if name.endswith(".tar") and name not in listed:
            report.problems[name] = ["not in the manifest"]
    if not report.problems and not manifest.agrees(made):
        remedy = "index again" if made.indexed else "run blvnet-shard finalize"
        report.problems[manifest.NAME] = [f"differs from what the sidecars say; {remedy}"]
    return report


def check(targets: list[Target], workers: int, title: str) -> dict[Target, list[str]]:
    """The problems of each damaged shard."""
    problems: dict[Target, list[str]] = {}
    counted: dict[Target, int] = {}
    total = sum(target.samples for target in targets)
    with progress.bar(title, total, "sample") as bar:

        def on_step(target: Target, _: str | None) -> None:
            counted[target] = counted.get(target, 0) + 1
            bar.update()

        def on_result(target: Target, found: list[str]) -> None:
            if found:
                problems[target] = found
            bar.update(target.samples - counted.get(target, 0))

        def on_lost(lost: pool.Lost[Target]) -> Target:
            raise UserError(
                f"{lost.task.place.tar_url}: the worker that checked it was ended ({lost.signal or lost.exitcode})"
            )

        pool.run(check_shard, targets, workers, on_step, on_result, on_lost)
    return problems


def check_shard(target: Target, report: pool.Report) -> list[str]:
    """All that is wrong with one shard, in words; in a worker. `report` hears of each sample."""
    try:
        sidecar = load_sidecar(target.place.sidecar_url)
    except UserError as error:
        return [f"its sidecar cannot be used: {error}"]
    row = target.row
    if row is not None and (row.name, row.bytes, row.sha256) != (sidecar.name, sidecar.bytes, sidecar.sha256):
        return ["its sidecar is not the one that the manifest was made from"]
    problems = []
    try:
        soundness.judge(target.place, sidecar)
    except soundness.WrongSizeError:
        problems.append(f"{storage.size(target.place.tar_url)} bytes, should be {sidecar.bytes}")
    except UserError as error:
        return [str(error)]
    try:
        return [*problems, *_check_tar(target, sidecar, report)]
    except UserError as error:
        return [*problems, str(error)]


def _check_tar(target: Target, sidecar: Sidecar, report: pool.Report) -> Iterable[str]:
    digest = hashlib.sha256()
    with storage.open_read(target.place.tar_url) as stream:
        for row in sidecar.samples:
            report(row.key)
            span = shard.read_span(stream, row.bytes)
            digest.update(span)
            if len(span) < row.bytes:
                yield f"sample {row.key}: the shard ends inside it"
                return
            yield from _check_sample(row, span)
        while rest := stream.read(_READ_BYTES):
            digest.update(rest)
    if digest.hexdigest() != sidecar.sha256:
        yield "its SHA-256 differs"


def _check_sample(row: SampleRow, span: bytes) -> Iterable[str]:
    try:
        meta, frames = sample.of_any(row, span)
        frames.check((meta.width, meta.height))
    except ValueError as error:
        yield f"sample {row.key}: {error}"
