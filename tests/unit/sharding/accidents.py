"""Stand-ins for `build_shard` in a worker, each with an accident. Few imports: every worker pays for them."""

import dataclasses
import os
import signal
from pathlib import Path

from sharding.building import job, sample, spool
from sharding.building.settings import Settings
from sharding.format import recipe
from sharding.format.sidecar import Sidecar
from sharding.lists.videos import Video
from sharding.workers.pool import Report


def build_on_a_full_disk(common: job.Common, task: job.Job, report: Report) -> Sidecar:
    """No room for temporary files."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    spool.IN_MEMORY_BYTES = 0
    spool.tempfile.TemporaryFile = no_room  # type: ignore[assignment]
    return job.build_shard(common, task, report)


def build_with_wild_videos(common: job.Common, task: job.Job, report: Report) -> Sidecar:
    """Video 2 crashes the decoder, video 4 makes it spin."""
    real = sample.encode

    def encode(video: Video, folder: Path, settings: Settings) -> object:
        if video.key == "2":
            os.kill(os.getpid(), signal.SIGSEGV)
        while video.key == "4":
            pass
        return real(video, folder, settings)

    sample.encode = encode  # type: ignore[assignment]
    return job.build_shard(common, task, report)


def build_while_another_claims(common: job.Common, task: job.Job, report: Report) -> Sidecar:
    ours = common.recipes[task.url]
    recipe.save(task.url, dataclasses.replace(ours, settings=ours.settings | {"quality": 80}))
    return job.build_shard(common, task, report)


def build_until_killed(common: job.Common, task: job.Job, report: Report) -> Sidecar:
    os.kill(os.getpid(), signal.SIGKILL)
    return job.build_shard(common, task, report)
