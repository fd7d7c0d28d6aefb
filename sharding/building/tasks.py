"""Which part of a build is this machine's: task i of N takes every N-th shard."""

from collections.abc import Mapping
from dataclasses import dataclass

from sharding.errors import UserError

ARRAY = "BLVNET_SHARD_ARRAY"
"""The variable by which `launch/shard.sbatch` says that its array is the build's: the array's job id."""


@dataclass(frozen=True)
class Part:
    """Task `index` of `count`. Its shards are those whose number, over all splits, leaves `index` when divided."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise UserError(
                f"--task-index {self.index} --task-count {self.count}: the index must be 0 to count - 1"
            )


def part(index: int | None, count: int | None, environment: Mapping[str, str]) -> Part:
    """The part asked for; what is None comes from SLURM's array variables, if the array is the build's own.

    An array of somebody's over data sets, say, must not build a part of each. A count is only taken from an
    array that is numbered 0 to count - 1. An array of a few numbers, as it is given to repeat failed tasks,
    must not be taken for the whole.
    """
    array = environment.get("SLURM_ARRAY_TASK_ID") if _is_ours(environment) else None
    if index is None and array is not None and count != 1:
        index = int(array)
    if count is None and index is not None:
        size = int(environment.get("SLURM_ARRAY_TASK_COUNT", "0"))
        numbered = (environment.get("SLURM_ARRAY_TASK_MIN"), environment.get("SLURM_ARRAY_TASK_MAX"))
        if array is None or numbered != ("0", str(size - 1)):
            raise UserError(
                f"task {index} of how many? give --task-count, the number of tasks of the whole build"
            )
        count = size
    if index is None and count not in (None, 1):
        raise UserError(f"which of the {count} tasks is this? give --task-index, 0 to {(count or 1) - 1}")
    return Part(index or 0, 1 if count is None else count)


def note(index: int | None, count: int | None, environment: Mapping[str, str]) -> str | None:
    """What to say where a job array is not taken for the build's."""
    if (
        index is not None
        or count is not None
        or "SLURM_ARRAY_TASK_ID" not in environment
        or _is_ours(environment)
    ):
        return None
    return (
        "this job array is not the build's, so all shards are built here; for a part in each task: blvnet-launch "
        'slurm shard, or --task-index "$SLURM_ARRAY_TASK_ID" --task-count N'
    )


def _is_ours(environment: Mapping[str, str]) -> bool:
    job = environment.get("SLURM_ARRAY_JOB_ID")
    return job is not None and environment.get(ARRAY) == job
