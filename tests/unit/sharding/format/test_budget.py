import dataclasses

import pytest

from sharding.errors import UserError
from sharding.format.budget import parse
from sharding.format.manifest import Manifest
from sharding.format.sidecar import Failure

EMPTY = Manifest("out/train", "sthv2", "train", [], {}, [], [], 0, 0, 0, "")


def split(samples: int, failures: int, root: str = "out/train") -> Manifest:
    failed = [Failure(str(i), "no such file") for i in range(failures)]
    return dataclasses.replace(EMPTY, root=root, samples=samples, failures=failed)


@pytest.mark.parametrize(
    ("text", "samples", "failures"),
    [("2", 5, 2), ("0", 5, 0), ("10%", 90, 10), ("0.1", 90, 10), ("0.1%", 999, 1), ("100%", 0, 3)],
)
def test_up_to_the_limit_is_fine(text: str, samples: int, failures: int) -> None:
    parse(text).check([split(samples, failures)])


@pytest.mark.parametrize(
    ("text", "samples", "failures"), [("2", 500, 3), ("0", 5, 1), ("10%", 89, 10), ("0.1%", 998, 1)]
)
def test_more_is_an_error_that_names_the_list(text: str, samples: int, failures: int) -> None:
    with pytest.raises(UserError) as caught:
        parse(text).check([split(samples, failures), split(0, 0, "out/test")])
    total = samples + failures
    assert f"{failures} of {total} videos" in str(caught.value)
    assert "the reasons: out/train/failures.csv; " in str(caught.value)


def test_splits_count_together() -> None:
    parse("1%").check([split(199, 1), split(0, 1, "out/test")])


@pytest.mark.parametrize("text", ["", "-1", "many", "101%", "1.5", "1 %", "nan"])
def test_what_is_no_limit_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="--max-failures"):
        parse(text)
