"""What a build will give and cost, from a sample of the videos that is packed as the build does it.

The videos of a split are planned in the order of a hash of (seed, key), so the first N of them are a random sample.
"""

import dataclasses
import heapq
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, cast

from sharding.building.build import Plan, Request, make_plans
from sharding.building.losses import Losses
from sharding.building.packing import Nowhere, packer
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.lists.videos import Video
from sharding.pages import units
from sharding.pages.figure import Figure, mean, total
from sharding.sources.decode import Unusable
from sharding.workers import memory, pool, progress

# Behind its samples a tar has two blocks of 512 bytes, and is filled up to 20: by 9.5 on average.
_TAR_END_BYTES = (2 + 9.5) * 512
_SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Probe:
    """One video to measure. `skipped` is why not, where the decoder is known to fail with it."""

    split: str
    video: Video
    folder: Path
    settings: Settings
    skipped: str | None = None


@dataclass(frozen=True)
class Measure:
    """One video measured: its bytes in the tar (0 if unusable, then with the `reason`), and seconds for them."""

    key: str
    bytes: int
    cpu_s: float
    clock_s: float
    reason: str | None = None


@dataclass(frozen=True)
class SplitEstimate:
    """One split: the number of videos of each of its shards, and what was measured of some of them."""

    split: str
    shards: list[int]
    measures: list[Measure]

    @property
    def videos(self) -> int:
        return sum(self.shards)

    @property
    def failures(self) -> list[Measure]:
        return [m for m in self.measures if m.reason is not None]

    @property
    def size(self) -> Figure:
        """Bytes of all its tars. An unusable video counts as one without bytes."""
        samples = mean([m.bytes for m in self.measures], self.videos).times(self.videos)
        return Figure(samples.value + len(self.shards) * _TAR_END_BYTES, samples.error)

    @property
    def sample_bytes(self) -> Figure:
        """Bytes of a usable sample in its tar: what reading it costs."""
        whole = len(self.measures) == self.videos
        usable = [m.bytes for m in self.measures if m.reason is None]
        return mean(usable, len(usable) if whole else self.videos)

    @property
    def cpu_s(self) -> Figure:
        """CPU seconds of all its videos."""
        return mean([m.cpu_s for m in self.measures], self.videos).times(self.videos)


@dataclass(frozen=True)
class Estimate:
    """All splits that were asked for."""

    splits: list[SplitEstimate]

    @property
    def size(self) -> Figure:
        """Bytes of all tars."""
        return total(s.size for s in self.splits)

    @property
    def cpu_s(self) -> Figure:
        """CPU seconds of the whole build."""
        return total(s.cpu_s for s in self.splits)

    def build_s(self, cores: int) -> Figure:
        """Seconds of a build on `cores`. A shard is one core's work, so with few shards some cores wait in the end."""
        work = [videos * s.cpu_s.value / s.videos for s in self.splits for videos in s.shards]
        return self.cpu_s.times(makespan(work, cores) / sum(work))

    def bandwidth(self, clips_per_s: float) -> tuple[str, Figure]:
        """The split that training reads, and the bytes a second that it needs: each clip reads its whole sample."""
        read = next((s for s in self.splits if s.split == "train"), self.splits[0])
        return read.split, read.sample_bytes.times(clips_per_s)

    def lines(self, cores: int, clips_per_s: float) -> list[str]:
        """For the user: a table of the splits, then time, bandwidth and failures."""
        measures = [m for s in self.splits for m in s.measures]
        failures = [m for s in self.splits for m in s.failures]
        videos = sum(s.videos for s in self.splits)
        each = self.cpu_s.times(1 / videos).text(units.duration)
        clock = units.duration(statistics.fmean(m.clock_s for m in measures))
        split, needed = self.bandwidth(clips_per_s)
        lines = [
            *_table(self),
            "",
            f"build     {self.build_s(cores).text(units.duration)} on {cores} core{'s' * (cores > 1)} like these",
            f"          one process here took {each} of CPU a video ({clock} by the clock); uploading is not in it",
            f"training  {needed.text(units.size)} a second from storage at {clips_per_s:g} clips/s",
            f"          each clip reads its whole sample of {split}",
            "± is one standard error",
        ]
        if failures:
            lines.append(f"{len(failures)} of the {len(measures)} videos sampled cannot be used:")
            lines += [f"  {m.key}: {m.reason}" for m in failures[:_SHOWN_FAILURES]]
            if len(failures) > _SHOWN_FAILURES:
                lines.append(f"  and {len(failures) - _SHOWN_FAILURES} more")
        return lines


def estimate(request: Request, sampled: int) -> Estimate:
    """Measure `sampled` videos of each split, or all where there are fewer; nothing is written to `request.out`.

    Raises `UserError` for a mistake of the user, as the build does, and where no sampled video can be used.
    """
    if not request.videos.is_dir():
        raise UserError(f"{request.videos}: no such folder; --videos is the folder of the videos")
    plans = make_plans(request)
    measures = _measure_all(list(_probes(plans, request, sampled)), request.video_limit_s)
    taken = list(chain(*measures.values()))
    if all(m.reason is not None for m in taken):
        raise UserError(
            f"{request.videos}: none of the {len(taken)} videos sampled can be used; "
            f"{taken[0].key}: {taken[0].reason}"
        )
    splits = [(plan.recipe.split, [len(videos) for videos in plan.shards]) for plan in plans]
    return Estimate([SplitEstimate(split, shards, measures[split]) for split, shards in splits])


def measure(probe: Probe, report: pool.Report) -> Measure:
    """Make one sample as the build does, in a worker, and throw it away.

    Raises `UserError` where there is no room for it.
    """
    memory.keep_freed_blocks()
    report(probe.video.key)
    cpu, clock = time.process_time(), time.perf_counter()
    size, reason = 0, probe.skipped
    try:
        size = _packed_bytes(probe) if reason is None else 0
    except Unusable as unusable:
        reason = str(unusable)
    except OSError as error:
        raise UserError(
            f"{probe.video.path}: cannot be measured: {error.strerror} "
            f"(long videos need room in {tempfile.gettempdir()})"
        ) from error
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    report(None)
    return Measure(probe.video.key, size, cpu, clock, reason)


def makespan(work: Sequence[float], workers: int) -> float:
    """When the last of `workers` is done with pieces of these durations; whoever is free takes the next."""
    free = [0.0] * workers
    for duration in work:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def _probes(plans: list[Plan], request: Request, sampled: int) -> Iterator[Probe]:
    folder = request.videos.resolve()
    for plan in plans:
        for video in islice(chain(*plan.shards), sampled):
            yield Probe(plan.recipe.split, video, folder, request.settings)


def _measure_all(probes: list[Probe], video_limit_s: float) -> dict[str, list[Measure]]:
    """The measures of each split, from one worker process: a video may crash or hang it, as in a build."""
    measures: dict[str, list[Measure]] = {probe.split: [] for probe in probes}
    losses = Losses(video_limit_s)
    with progress.bar("estimate", len(probes), "video") as bar:

        def on_step(probe: Probe, key: str | None) -> None:
            pass

        def on_result(probe: Probe, measured: Measure) -> None:
            measures[probe.split].append(measured)
            bar.update()

        def on_lost(lost: pool.Lost[Probe]) -> Probe:
            skipped, _ = losses.judge(lost, lost.task.video.path)
            return dataclasses.replace(lost.task, skipped=skipped.get(lost.task.video.key))

        pool.run(measure, probes, 1, on_step, on_result, on_lost, video_limit_s)
    return measures


def _packed_bytes(probe: Probe) -> int:
    """The sample's bytes in a tar. The work of writing one, checksums above all, is done too."""
    nowhere = Nowhere()
    packer(cast(BinaryIO, nowhere), probe.settings).add(probe.video, probe.folder, lambda _: None)
    return nowhere.bytes


def _table(estimated: Estimate) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "videos", "sampled", "unusable", "shards", "a sample", "size")]
    counts = []
    for s in estimated.splits:
        counts.append((s.videos, len(s.measures), len(s.failures), len(s.shards)))
        sizes = units.size(s.sample_bytes.value), s.size.text(units.size)
        rows.append((s.split, *(f"{n:,}" for n in counts[-1]), *sizes))
    sums = (f"{sum(column):,}" for column in zip(*counts, strict=True))
    rows.append(("all", *sums, "", estimated.size.text(units.size)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{row[0]:<{widths[0]}}" + "".join(f"  {c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
