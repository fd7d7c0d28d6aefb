import torch

from pipeline.labels import tensors


def test_one_label_is_a_number_and_none_is_minus_one() -> None:
    labels = tensors.empty(3, None)
    for place, label in enumerate((2, None, 0)):
        tensors.put(labels, place, label)
    assert labels.tolist() == [2, -1, 0] and labels.dtype == torch.int64
    assert not tensors.are_several(labels) and tensors.some_unknown(labels).tolist() == [False, True, False]


def test_several_labels_are_a_row_of_zeros_and_ones_and_none_is_a_row_of_minus_one() -> None:
    labels = tensors.empty(3, 4)
    labels.fill_(7)  # what was in the memory before
    for place, label in enumerate(((0, 3), None, (2,))):
        tensors.put(labels, place, label)
    assert labels.tolist() == [[1, 0, 0, 1], [-1, -1, -1, -1], [0, 0, 1, 0]] and labels.dtype == torch.int8
    assert tensors.are_several(labels) and tensors.some_unknown(labels).tolist() == [False, True, False]
    assert tensors.some_unknown(tensors.empty(0, 4)).shape == (0,)
