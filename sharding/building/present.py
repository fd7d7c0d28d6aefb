"""What an earlier build left: which shards are done, and which of those are damaged."""

from concurrent.futures import ThreadPoolExecutor

from sharding import storage
from sharding.building import verify
from sharding.building.job import Job
from sharding.errors import UserError
from sharding.format.soundness import WrongSizeError, check

_REQUESTS = 16  # at the same time: a bucket answers each in tens of milliseconds


def missing(jobs: list[Job], repair: bool, workers: int) -> list[Job]:
    """The jobs that are to be done: those whose sidecar or tar is not there, or of another size than it should be.

    With `repair`, what is there is read and checked, and damaged shards are to be done too; their sidecars are
    removed. Raises `UserError` where a sidecar cannot be read, or where the folder holds shards of another recipe.
    """
    with ThreadPoolExecutor(_REQUESTS) as threads:
        urls = sorted({job.url for job in jobs})
        names = {
            url: set(found) for url, found in zip(urls, threads.map(storage.list_names, urls), strict=True)
        }
        found = list(threads.map(lambda job: _is_done(job, names[job.url]), jobs))
    done = [job for job, answer in zip(jobs, found, strict=True) if answer is True]
    for answer in found:
        # A repair needs one sound shard to tell a damaged sidecar from a folder of another build.
        if isinstance(answer, UserError) and not (repair and done):
            raise answer
    todo = {job.place for job in jobs} - {job.place for job in done}
    if repair:
        targets = [verify.Target(job.place, len(job.videos)) for job in done]
        todo |= {target.place for target in verify.check(targets, workers, "check")}
        for place in todo:
            storage.remove(place.sidecar_url)
    return [job for job in jobs if job.place in todo]


def _is_done(job: Job, names: set[str]) -> bool | UserError:
    """Whether a shard counts as built, or why it should not be there as it is."""
    if not job.place.is_among(names):
        return False
    try:
        check(job.place, job.recipe)
    except WrongSizeError:
        return False
    except UserError as error:
        return error
    return True
