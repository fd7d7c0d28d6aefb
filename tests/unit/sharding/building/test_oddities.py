from sharding.building.oddities import notes
from sharding.lists.videos import Video


def test_nothing_is_said_of_ordinary_annotations() -> None:
    train, test = [[Video("1", "1.webm", 0)], [Video("2", "2.webm", 1)]], [[Video("3", "3.webm", None)]]
    assert notes({"train": train, "test": test}, {"train": [], "test": ["3"]}, {"train": 0, "test": 0}) == []


def test_videos_without_a_label_among_others_and_videos_in_two_splits_are_said() -> None:
    train = [[Video("1", "1.webm", 0)], [Video("2", "2.webm", None)]]
    val = [[Video("x", "1.webm", 1)]]
    assert notes({"train": train, "val": val}, {"train": ["2"], "val": []}, {"train": 0, "val": 0}) == [
        "1 of 2 videos of train have no label, such as 2; such a split cannot be trained on",
        "1 videos are in train and in val, such as 1.webm",
    ]


def test_videos_of_classes_that_are_not_wanted_are_counted() -> None:
    train, val = [[Video("1", "1.webm", 0)], [Video("2", "2.webm", 1)]], [[Video("3", "3.webm", 0)]]
    assert notes({"train": train, "val": val}, {"train": [], "val": []}, {"train": 5, "val": 0}) == [
        "2 of 7 videos of train are of the wanted classes; the others are left out"
    ]
