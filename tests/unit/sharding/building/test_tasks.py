import pytest

from sharding.building.tasks import Part, note, part
from sharding.errors import UserError


def slurm(index: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": index, "MIN": first, "MAX": last, "COUNT": count}
    ours = {"SLURM_ARRAY_JOB_ID": "17", "BLVNET_SHARD_ARRAY": "17"}
    return ours | {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_without_options_and_slurm_it_is_the_whole() -> None:
    assert part(None, None, {}) == part(None, 1, {}) == part(0, 1, {}) == Part(0, 1)


def test_options_are_taken_as_given() -> None:
    assert part(3, 8, {}) == Part(3, 8)
    assert part(3, 8, slurm(5, 0, 15, 16)) == Part(3, 8)


def test_a_slurm_array_from_zero_gives_both() -> None:
    assert part(None, None, slurm(5, 0, 15, 16)) == Part(5, 16)
    assert part(None, 32, slurm(5, 0, 15, 16)) == Part(5, 32)


@pytest.mark.parametrize(
    "environment", [slurm(3, 3, 7, 2), slurm(3, 3, 3, 1), slurm(1, 1, 4, 4), slurm(0, 0, 6, 4)]
)
def test_an_array_of_a_few_tasks_is_not_taken_for_the_whole(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="give --task-count"):
        part(None, None, environment)


@pytest.mark.parametrize("mark", [{}, {"BLVNET_SHARD_ARRAY": "16"}, {"BLVNET_SHARD_ARRAY": ""}])
def test_an_array_that_is_not_the_builds_is_left_alone_and_said(mark: dict[str, str]) -> None:
    environment = slurm(5, 0, 15, 16)
    del environment["BLVNET_SHARD_ARRAY"]
    environment |= mark
    assert part(None, None, environment) == Part(0, 1)
    assert part(5, 16, environment) == Part(5, 16)
    assert "all shards are built here" in (note(None, None, environment) or "")
    assert note(5, 16, environment) is note(None, None, {}) is note(None, None, slurm(5, 0, 15, 16)) is None


def test_one_half_alone_is_an_error() -> None:
    with pytest.raises(UserError, match="give --task-count"):
        part(2, None, {})
    with pytest.raises(UserError, match="give --task-index, 0 to 3"):
        part(None, 4, {})


@pytest.mark.parametrize(("index", "count"), [(4, 4), (-1, 4), (0, 0)])
def test_an_index_out_of_range_is_an_error(index: int, count: int) -> None:
    with pytest.raises(UserError, match="must be 0 to count - 1"):
        part(index, count, {})
