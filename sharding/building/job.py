"""One shard's worth of work, as a worker does it: videos in, the tar and then its sidecar out."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharding import storage
from sharding.archives.films import Films
from sharding.building import packing
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.format.recipe import confirm
from sharding.format.sidecar import Failure, Place, Recipe, Sidecar, save_sidecar, tar_name
from sharding.lists.videos import Video
from sharding.sources.decode import Unusable
from sharding.workers import memory, pool


@dataclass(frozen=True)
class Common:
    """What all shards of a build share, sent to a worker once: the recipe of each split's URL, and the rest."""

    recipes: dict[str, Recipe]
    folder: Path
    settings: Settings


@dataclass(frozen=True)
class Job:
    """One shard to build. `skipped` are videos that are known to break the decoder, with the reason.

    Where the videos are in archives, `films` has those of this shard, and the folder of all shards is not looked in.
    """

    url: str
    index: int
    videos: Sequence[Video]
    skipped: dict[str, str] = field(default_factory=dict)
    films: Films | None = None

    @property
    def place(self) -> Place:
        """Where the shard will lie."""
        return Place(self.url, tar_name(self.index))


def build_shard(common: Common, job: Job, report: pool.Report) -> Sidecar:
    """Build one shard, in a worker: the tar, and after it the sidecar. `report` hears of each video.

    Raises `UserError` where there is no room for it, or no permission.
    """
    memory.keep_freed_blocks()
    failures = []
    recipe = common.recipes[job.url]
    folder = common.folder if job.films is None else job.films
    with storage.publish(job.place.tar_url) as stream:
        packer = packing.packer(stream, common.settings)
        for video in job.videos:
            report(video.key)
            try:
                if video.key in job.skipped:
                    raise Unusable(job.skipped[video.key])
                packer.add(video, folder, report)
            except Unusable as reason:
                failures.append(Failure(video.key, str(reason)))
            except OSError as error:
                raise UserError(
                    f"{job.place.tar_url}, video {video.key}: cannot be built: {error.strerror} "
                    f"(long videos need room in {tempfile.gettempdir()})"
                ) from error
        report(None)
        packer.finish()
        confirm(job.url, recipe)
    sidecar = packer.sidecar(job.place.tar_name, failures, recipe)
    save_sidecar(job.place.sidecar_url, sidecar)
    return sidecar
