"""What an earlier build left: which shards are done, and which of those are damaged."""

from concurrent.futures import ThreadPoolExecutor

from sharding import storage
from sharding.building import verify
from sharding.building.job import Job
from sharding.errors import UserError
from sharding.format import manifest, shard

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
        faults = list(threads.map(lambda job: _fault(job, names[job.url]), jobs))
    usable = [job for job, fault in zip(jobs, faults, strict=True) if fault is None]
    for fault in faults:
        # A repair needs one sound shard to tell a damaged sidecar from a folder of another build.
        if isinstance(fault, UserError) and not (repair and usable):
            raise fault
    todo = {job.tar_url for job in jobs} - {job.tar_url for job in usable}
    if repair:
        targets = [verify.Target(job.url, shard.tar_name(job.index), len(job.videos)) for job in usable]
        todo |= {target.tar_url for target in verify.check(targets, workers, "check")}
        for job in jobs:
            if job.tar_url in todo:
                storage.remove(job.sidecar_url)
    return [job for job in jobs if job.tar_url in todo]


def _fault(job: Job, names: set[str]) -> UserError | str | None:
    """Why a shard does not count as built: a word if it is not there, an error if it should not be there so."""
    if not {shard.tar_name(job.index), shard.sidecar_name(job.index)} <= names:
        return "absent"
    try:
        sidecar = shard.load_sidecar(job.sidecar_url)
    except UserError as error:
        return error
    if sidecar.recipe != job.recipe:
        return UserError(
            f"{job.sidecar_url}: built from other settings or annotations: "
            f"{manifest.difference(job.recipe, sidecar.recipe)}; build with those of before, or into another folder"
        )
    return None if storage.size(job.tar_url) == sidecar.bytes else "cut short"
