"""What an earlier build left: which shards are done, and which of those are damaged."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sharding import storage
from sharding.archives.films import Films
from sharding.building import verify
from sharding.building.job import Common, Job
from sharding.errors import UserError
from sharding.format.manifest import Entry, entry
from sharding.format.sidecar import Failure, Place, Recipe
from sharding.format.soundness import WrongSizeError, check

_REQUESTS = 16  # at the same time: a bucket answers each in tens of milliseconds


def missing(
    jobs: list[Job],
    common: Common,
    names: Mapping[str, set[str]],
    repair: bool,
    workers: int,
    films: Callable[[], Films] | None = None,
) -> tuple[list[Job], dict[Place, Entry]]:
    """The jobs that are to be done: those whose sidecar or tar is not there, or of another size than it should be.

    And what a manifest keeps of the sidecars of all others.

    `names`: of each split's URL the files that are there. With `repair`, what is there is read and checked, and
    damaged shards are to be done too, and those with a failed video that may be usable now; their sidecars are
    removed. Where the videos are in archives, `films` gives them; it may take long, and is asked only for a failed
    video. Raises `UserError` where a sidecar cannot be read, or where the folder holds shards of another recipe.
    """
    with ThreadPoolExecutor(_REQUESTS) as threads:
        found = list(threads.map(lambda job: _built(job, common.recipes[job.url], names[job.url]), jobs))
    answers = {
        job.place: answer for job, answer in zip(jobs, found, strict=True) if isinstance(answer, Entry)
    }
    done = {job.place: job for job in jobs if job.place in answers}
    for answer in found:
        # A repair needs one sound shard to tell a damaged sidecar from a folder of another build.
        if isinstance(answer, UserError) and not (repair and done):
            raise answer
    todo = {job.place for job in jobs} - set(done)
    if repair:
        for place, job in done.items():
            if _may_succeed_now(job, answers[place].failures, common.folder, films):
                todo.add(place)
        targets = [verify.Target(place, len(job.videos)) for place, job in done.items() if place not in todo]
        todo |= {target.place for target in verify.check(targets, workers, "check")}
        for place in todo:
            storage.remove(place.sidecar_url)
    kept = {place: answer for place, answer in answers.items() if place not in todo}
    return [job for job in jobs if job.place in todo], kept


def _built(job: Job, recipe: Recipe, names: set[str]) -> Entry | UserError | None:
    """What is known of a shard that counts as built; None for one that does not, or why it should not be there."""
    if not job.place.is_among(names):
        return None
    try:
        return entry(check(job.place, recipe))
    except WrongSizeError:
        return None
    except UserError as error:
        return error


def _may_succeed_now(
    job: Job, failures: list[Failure], folder: Path, films: Callable[[], Films] | None
) -> bool:
    """Whether any of the failed videos is there at all, and not empty."""
    failed = {failure.key for failure in failures}
    paths = [video.path for video in job.videos if video.key in failed]
    return any(films().size(path) if films else _has_bytes(folder / path) for path in paths)


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except (OSError, ValueError):
        return False
