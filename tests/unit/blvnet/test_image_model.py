"""The network of single images: the video network without time, and where its weights begin."""

from pathlib import Path

import pytest
import torch

from blvnet import BLVNetTAM, image_model
from blvnet.weights import HEAD, WeightsError, from_reference, load, load_reference, to_reference


def some_images() -> torch.Tensor:
    return torch.randn(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_it_is_the_video_network_of_a_still_film_with_nothing_blended() -> None:
    torch.manual_seed(0)
    images = image_model(26, num_classes=7).eval()
    film = BLVNetTAM(26, num_frames=2, num_classes=7, blending_frames=1).eval()
    tams = [name for name in film.state_dict() if ".tam." in name]
    load(film, images.state_dict(), fresh=tams)
    with torch.no_grad():
        for name in tams:
            film.get_parameter(name).fill_(1)
        expected = film(some_images().expand(-1, 2, -1, -1, -1))
        assert torch.allclose(images(some_images()), expected, atol=1e-6)


def test_it_has_no_tam_and_else_the_same_tensors() -> None:
    with torch.device("meta"):
        images, film = image_model().state_dict(), BLVNetTAM(num_classes=1000).state_dict()
    assert {n: t.shape for n, t in images.items()} == {
        n: t.shape for n, t in film.items() if ".tam." not in n
    }


def test_clips_of_more_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(batch, 1, 3, height, width\)"):
        image_model(26)(torch.zeros(1, 2, 3, 32, 32))


def test_its_reference_form_is_an_imagenet_file(tmp_path: Path) -> None:
    images = image_model(26, num_classes=7)
    theirs = to_reference(images.state_dict())
    assert {"conv1.weight", "fc.weight", "layer4.0.conv1.weight"} <= theirs.keys()
    assert not any(name.startswith("baseline_model.") for name in theirs)
    assert from_reference(theirs).keys() == images.state_dict().keys() - set(HEAD)

    path = tmp_path / "images.pth"
    torch.save(theirs, path)
    again = image_model(26, num_classes=7)
    assert load_reference(again, path) == []
    for name, tensor in images.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name

    film = BLVNetTAM(26, num_frames=4, num_classes=5)
    kept = load_reference(film, path)
    assert kept == sorted([*HEAD, *(n for n in film.state_dict() if ".tam." in n)])
    assert torch.equal(film.state_dict()["backbone.stem.frames.conv.weight"], theirs["conv1.weight"])


def test_weights_of_a_video_do_not_fit_it() -> None:
    with pytest.raises(WeightsError, match=r"unexpected: .*tam\.weight"):
        load(image_model(26, num_classes=7), BLVNetTAM(26, num_frames=2, num_classes=7).state_dict())
