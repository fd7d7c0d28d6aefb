"""One shard's worth of work, as a worker does it: videos in, the tar and then its sidecar out."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from sharding import storage
from sharding.building import memory, pool, sample
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.format import shard
from sharding.format.shard import Failure, Recipe, Sidecar
from sharding.sources.annotations import Video
from sharding.sources.decode import Unusable


@dataclass(frozen=True)
class Job:
    """One shard to build. `skipped` are videos that are known to break the decoder, with the reason."""

    url: str
    index: int
    recipe: Recipe
    videos: list[Video]
    folder: Path
    settings: Settings
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def tar_url(self) -> str:
        return storage.join(self.url, shard.tar_name(self.index))

    @property
    def sidecar_url(self) -> str:
        return storage.join(self.url, shard.sidecar_name(self.index))


def build_shard(job: Job, report: pool.Report) -> Sidecar:
    """Build one shard, in a worker: the tar, and after it the sidecar. `report` hears of each video.

    Raises `UserError` where there is no room for it, or no permission.
    """
    memory.keep_freed_blocks()
    try:
        return _build_shard(job, report)
    except OSError as error:
        raise UserError(
            f"{job.tar_url}: cannot be built: {error.strerror} (long videos need room in {tempfile.gettempdir()})"
        ) from error


def _build_shard(job: Job, report: pool.Report) -> Sidecar:
    failures = []
    with storage.publish(job.tar_url) as stream:
        writer = shard.Writer(stream)
        for video in job.videos:
            report(video.key)
            try:
                if video.key in job.skipped:
                    raise Unusable(job.skipped[video.key])
                meta, jpegs = sample.encode(video, job.folder, job.settings)
            except Unusable as reason:
                failures.append(Failure(video.key, str(reason)))
                continue
            report(None)
            with jpegs:
                writer.add(video.key, meta, jpegs, jpegs.bytes)
        report(None)
        writer.finish()
    sidecar = writer.sidecar(shard.tar_name(job.index), failures, job.recipe)
    shard.save_sidecar(job.sidecar_url, sidecar)
    return sidecar
