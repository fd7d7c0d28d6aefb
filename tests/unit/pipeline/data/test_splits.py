from pathlib import Path

import pytest

from pipeline.data import splits
from sharding.errors import UserError
from tests import shards


def having(root: Path, *names: str) -> str:
    for name in names:
        (root / name).mkdir()
        (root / name / "manifest.json").write_text("{}")
    return str(root)


@pytest.mark.parametrize(
    ("there", "wanted", "key", "says"),
    [
        (["train", "val"], "validation", "data.validation", "there are train, val: set data.validation=val"),
        (["dev", "val"], "validation", "data.validation", "set data.validation=dev or data.validation=val"),
        (["train"], "validation", "data.validation", "there are train: build that split too"),
        (["train", "val"], "training", "data.train", "there are train, val: set data.train=train"),
        ([], "train", "data.train", "no such manifest"),
    ],
)
def test_a_missing_split_is_answered_with_those_that_are_there(
    tmp_path: Path, there: list[str], wanted: str, key: str, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        splits.load(having(tmp_path, *there), wanted, key)
    assert says in str(caught.value) and f"{tmp_path}/{wanted}/manifest.json" in str(caught.value)


def test_a_split_whose_videos_all_failed_is_said_to_have_none(tmp_path: Path) -> None:
    empty = shards.make(tmp_path, [0, 0])
    with pytest.raises(
        UserError, match=r"train: no samples in it: every video failed, as failures\.csv says"
    ):
        splits.is_labelled(empty)
    with pytest.raises(UserError, match="no samples in it"):
        splits.check_splits(empty, empty)
