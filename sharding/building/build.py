"""The build driver: annotations to a plan, the plan to shards in worker processes, their sidecars to a manifest.

Which videos go in which shard: the videos of a split are ordered by BLAKE2b(seed, key), which spreads every class
over all shards, and cut into pieces of `samples_per_shard`. That depends on the annotations and the settings alone;
workers and machines only decide who builds a piece, and when.
"""

import dataclasses
import functools
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sharding import storage
from sharding.archives.films import Downloads, Films
from sharding.building import absent, oddities, present
from sharding.building.job import Common, Job, build_shard
from sharding.building.losses import Losses
from sharding.building.settings import Settings
from sharding.building.shards import Piece, order
from sharding.building.tasks import Part
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.budget import Budget
from sharding.format.kinds import with_several_labels
from sharding.format.manifest import Manifest
from sharding.format.recipe import claim
from sharding.format.sidecar import Recipe, Sidecar
from sharding.lists import annotations
from sharding.lists.videos import Annotations
from sharding.sources.flow import folder_of
from sharding.workers import pool, progress


@dataclass(frozen=True)
class Request:
    """What the user asked for. `splits` None means all that the annotations have.

    `part` is this machine's share of the shards; `repair` checks what is there before it counts as built;
    a video that takes longer than `video_limit_s` counts as failed; `validation_share` (0 to 1) of a CSV's videos
    become the split `validation`; `label_separator` stands between the labels of a CSV's video, where it has several;
    `only_classes` is a file of the classes to keep; where more than `max_failures` are missing, nothing is built. Where
    there are `archives`, the videos are in them, and `videos` is their folder.
    """

    dataset: str
    annotations: Path
    videos: Path
    out: str
    settings: Settings = field(default_factory=Settings)
    splits: list[str] | None = None
    classes: Path | None = None
    validation_share: float | None = None
    only_classes: Path | None = None
    label_separator: str | None = None
    workers: int = 1
    part: Part = field(default_factory=Part)
    repair: bool = False
    video_limit_s: float = 600.0
    max_failures: Budget | None = None
    archives: Downloads | None = None


@dataclass(frozen=True)
class Plan:
    """One split: its recipe, the videos of each of its shards, and the keys of those without a label.

    `left_out`: how many videos of the annotations are of classes that were not wanted.
    """

    recipe: Recipe
    shards: list[Piece]
    unlabelled: list[str]
    left_out: int = 0


@dataclass
class Summary:
    """What a build did: `built` shards of `shards`, and the videos, frames, bytes and failures in those."""

    shards: int
    built: int = 0
    videos: int = 0
    frames: int = 0
    bytes: int = 0
    failures: int = 0
    seconds: float = 0.0
    manifests: list[Manifest] = field(default_factory=list)

    def line(self) -> str:
        """The closing line for the user."""
        if not self.shards:
            return "no shards fall to this task"
        if not self.built:
            return f"all {self.shards} shards were there already"
        rate = f"{self.videos / self.seconds:.1f} videos/s, {self.frames / self.seconds:.0f} frames/s"
        earlier = self.shards - self.built
        return (
            f"{self.videos} videos in {self.seconds:.1f} s ({rate}), {self.bytes / 1e6:.1f} MB in "
            f"{self.built} shards, {self.failures} failures"
            + (f"; {earlier} shards were there already" if earlier else "")
        )


def build(request: Request) -> Summary:
    """Build what is missing of a shard set and write its manifests. Raises `UserError` for a mistake of the user."""
    if not request.videos.is_dir():
        raise UserError(f"{request.videos}: no such folder; --videos is the folder of the videos")
    plans = make_plans(request)
    if request.settings.store == "film":
        _refuse_parts(plans)
    recipes = {storage.join(request.out, plan.recipe.split): plan.recipe for plan in plans}
    names = {url: claim(url, recipe) for url, recipe in recipes.items()}
    every = [job for plan in plans for job in _jobs(plan, request)]
    jobs = every[request.part.index :: request.part.count]
    common = Common(recipes, request.videos.resolve(), request.settings)
    films = None if request.archives is None else _once_read(request.archives)
    missing, sound = present.missing(jobs, common, names, request.repair, request.workers, films)
    summary = Summary(len(jobs))
    _refuse_absent(missing, every, names, request, films)
    if films is not None:
        missing = [
            dataclasses.replace(job, films=films().of({v.path for v in job.videos})) for job in missing
        ]
    _build_shards(common, missing, jobs, request, summary)
    if request.part.count == 1:
        summary.manifests = [manifest.finalize(url, sound) for url in recipes]
    return summary


def _refuse_parts(plans: list[Plan]) -> None:
    for video in chain.from_iterable(shard for plan in plans for shard in plan.shards):
        if video.start is not None or video.end is not None:
            raise UserError(
                f"video {video.key} is a part of {video.path}, and --store film keeps whole films; leave it out, or "
                "cut the films first"
            )


def _once_read(archives: Downloads) -> Callable[[], Films]:
    """What gives the films of the archives, and reads those when it is asked first. Every one is found whole then."""

    @functools.cache
    def films() -> Films:
        with progress.bar("unpack", archives.bytes, "B", scale=True) as bar:
            return archives.films(bar.update)

    return films


def _refuse_absent(
    missing: list[Job],
    every: list[Job],
    names: dict[str, set[str]],
    request: Request,
    films: Callable[[], Films] | None,
) -> None:
    """Refuse to begin where too many videos are not there, those of the other tasks' unbuilt shards included."""
    if not missing or request.max_failures is None:
        return
    ours = {job.place for job in missing}
    unbuilt = [job for job in every if job.place in ours or not job.place.is_among(names[job.url])]
    videos = [video for job in unbuilt for video in job.videos]
    planned = sum(len(job.videos) for job in every)
    absent.check(videos, request.videos, request.max_failures, planned, films() if films else None)


def make_plans(request: Request) -> list[Plan]:
    """The plan of every split asked for. What is odd in the annotations, but may be meant, is said on stderr."""
    every = annotations.load_all(
        request.dataset,
        request.annotations,
        list(dict.fromkeys(request.splits or [])),
        request.classes,
        request.videos,
        request.validation_share,
        request.only_classes,
        request.label_separator,
    )
    if request.settings.input == "flow":
        every = map(_of_flow, every)
    plans = [make_plan(listed, request.settings) for listed in every]
    for note in _oddities(plans):
        print(f"note: {note}", file=sys.stderr)
    return plans


def _of_flow(listed: Annotations) -> Annotations:
    """The same videos, each where its optical flow is."""
    videos = [video._replace(path=folder_of(video.path)) for video in listed.videos]
    return dataclasses.replace(listed, videos=videos)


def _oddities(plans: list[Plan]) -> list[str]:
    splits = {plan.recipe.split: plan.shards for plan in plans}
    without = {plan.recipe.split: plan.unlabelled for plan in plans}
    left_out = {plan.recipe.split: plan.left_out for plan in plans}
    return oddities.notes(splits, without, left_out)


def make_plan(listed: Annotations, settings: Settings) -> Plan:
    """Which videos go in which shard (see the top of this file)."""
    ranks = bytearray()
    unlabelled = []
    for video in listed.videos:
        ranks += _rank(video.key, settings.seed)
        if video.label is None:
            unlabelled.append(video.key)
    videos = Piece(listed.videos, order(ranks))
    size = settings.samples_per_shard
    shards = [videos[i : i + size] for i in range(0, len(videos), size)]
    recipe = Recipe(
        dataset=listed.dataset,
        split=listed.split,
        classes=listed.classes,
        settings=with_several_labels(settings.to_dict()) if listed.several else settings.to_dict(),
        annotations=listed.identity(chain.from_iterable(shards)),
        shards=len(shards),
    )
    return Plan(recipe, shards, unlabelled, listed.left_out)


def _rank(key: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()


def _jobs(plan: Plan, request: Request) -> list[Job]:
    url = storage.join(request.out, plan.recipe.split)
    return [Job(url, index, videos) for index, videos in enumerate(plan.shards)]


def _build_shards(
    common: Common, missing: list[Job], jobs: list[Job], request: Request, summary: Summary
) -> None:
    """Run the jobs in worker processes under one progress bar over all videos."""
    videos = sum(len(job.videos) for job in jobs)
    already = videos - sum(len(job.videos) for job in missing)
    losses = Losses(request.video_limit_s)
    started = time.perf_counter()
    counted: dict[str, int] = {}  # videos of a shard that the bar has counted: a lost shard begins again

    with progress.bar("build", videos, "video", initial=already) as bar:

        def on_step(job: Job, key: str | None) -> None:
            if key is not None:
                counted[job.place.tar_url] = counted.get(job.place.tar_url, 0) + 1
                bar.update()

        def on_result(job: Job, sidecar: Sidecar) -> None:
            summary.built += 1
            summary.videos += len(job.videos)
            summary.frames += sum(row.frames for row in sidecar.samples)
            summary.bytes += sidecar.bytes
            summary.failures += len(sidecar.failures)
            bar.beside(f"{summary.failures} failed")

        def on_lost(lost: pool.Lost[Job]) -> Job:
            bar.update(-counted.pop(lost.task.place.tar_url, 0))
            skipped, message = losses.judge(lost, lost.task.place.tar_url)
            bar.write(message)
            return dataclasses.replace(lost.task, skipped=lost.task.skipped | skipped)

        work = functools.partial(build_shard, common)
        pool.run(work, missing, request.workers, on_step, on_result, on_lost, request.video_limit_s)
    summary.seconds = time.perf_counter() - started
