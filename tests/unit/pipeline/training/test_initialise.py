"""What of other weights a run starts from, where its videos have one label or several."""

from pathlib import Path

import pytest
import torch

from blvnet import BLVNetTAM, weights
from pipeline import config
from pipeline.config import Init
from pipeline.training.initialise import initialise
from sharding.format.kinds import with_several_labels
from tests import networks

SMALL = ["model.num_frames=2", "model.depth=26"]
CLASSES = ["a", "b", "c"]
STEM = "backbone.stem.frames.conv.weight"


def model() -> BLVNetTAM:
    torch.manual_seed(1)
    return BLVNetTAM(depth=26, num_frames=2, num_classes=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as checkpoints of both kinds, and in the reference's form."""
    folder = tmp_path_factory.mktemp("files")
    settings = config.override({"data": {"root": "unused"}, "run": {"folder": "unused"}}, SMALL, "test")
    networks.save(folder / "one.pt", settings, CLASSES, {})
    networks.save(folder / "several.pt", settings, CLASSES, with_several_labels({}))
    state = networks.network(settings, len(CLASSES)).state_dict()
    torch.save(weights.to_reference(state), folder / "reference.pth.tar")
    return folder


@pytest.mark.parametrize(
    ("file", "several", "kept"),
    [
        ("one.pt", False, True),
        ("several.pt", True, True),
        ("one.pt", True, False),
        ("several.pt", False, False),
        ("reference.pth.tar", False, True),
        ("reference.pth.tar", True, False),
    ],
)
def test_a_classifier_is_kept_by_those_of_its_kind_alone(
    files: Path, file: str, several: bool, kept: bool
) -> None:
    key = "reference" if file.startswith("reference") else "from"
    fresh, started = model(), model()
    initialise(started, Init.model_validate({key: str(files / file)}), several)
    theirs = torch.load(files / "one.pt")["model"]
    assert torch.equal(started.state_dict()[STEM], theirs[STEM])
    for name in weights.HEAD:
        wanted = theirs if kept else fresh.state_dict()
        assert torch.equal(started.state_dict()[name], wanted[name])
