from sharding.building.oddities import notes
from sharding.sources.videos import Video


def test_nothing_is_said_of_ordinary_annotations() -> None:
    train, test = [[Video("1", "1.webm", 0)], [Video("2", "2.webm", 1)]], [[Video("3", "3.webm", None)]]
    assert notes({"train": train, "test": test}, {"train": [], "test": ["3"]}) == []


def test_videos_without_a_label_among_others_and_videos_in_two_splits_are_said() -> None:
    train = [[Video("1", "1.webm", 0)], [Video("2", "2.webm", None)]]
    assert notes({"train": train, "val": [[Video("x", "1.webm", 1)]]}, {"train": ["2"], "val": []}) == [
        "1 of 2 videos of train have no label, such as 2; such a split cannot be trained on",
        "1 videos are in train and in val, such as 1.webm",
    ]
