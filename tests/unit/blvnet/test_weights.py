"""Reference weights in and out: names, the three file forms, and what is said of weights that do not fit."""

import io
import pickle
import tarfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blvnet import BLVNetTAM
from blvnet.weights import HEAD, WeightsError, from_reference, load, load_reference, read, to_reference
from tests.unit.blvnet.golden import KEYS, filled_reference

SMALL: dict[str, Any] = {"depth": 26, "num_frames": 2, "num_classes": 7}
STEM = "backbone.stem.frames.conv.weight"


@pytest.fixture(scope="module")
def released() -> dict[str, Tensor]:
    """A released file's content for the small network, `num_batches_tracked` filled too."""
    model = BLVNetTAM(**SMALL)
    counts = {n: torch.tensor(5) for n in to_reference(model.state_dict()) if n.endswith("tracked")}
    return {**filled_reference(model, True, 0), **counts}


def imagenet(released: dict[str, Tensor]) -> dict[str, Any]:
    """The same as an ImageNet bL-ResNet file: wrapped, no TAM, a classifier of 1000 classes."""
    names = {n.removeprefix("baseline_model."): t for n, t in released.items()}
    state = {f"module.{n}": t for n, t in names.items() if "tam." not in n and not n.startswith("new_fc")}
    return {
        "epoch": 110,
        "state_dict": {
            **state,
            "module.fc.weight": torch.zeros(1000, 2048),
            "module.fc.bias": torch.zeros(1000),
        },
    }


def saved(content: object, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("depth", [50, 101])
def test_names_and_shapes_are_the_references(depth: int) -> None:
    with torch.device("meta"):
        state = BLVNetTAM(depth=depth).state_dict()
    assert shapes(to_reference(state)) == dict(KEYS[f"depth{depth}"])


def test_names_without_dropout_and_with_five_blended_frames() -> None:
    with torch.device("meta"):
        state = BLVNetTAM(depth=50, blending_frames=5).state_dict()
    assert set(KEYS["no_dropout_head"]) <= to_reference(state, dropout=False).keys()
    theirs = shapes(to_reference(state))
    assert dict(KEYS["tam_blending5"]).items() <= theirs.items()


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize(
    "config", [{"depth": 26}, {"depth": 26, "alpha": 4, "beta": 1, "blending_frames": 4, "in_channels": 1}]
)
def test_there_and_back_is_the_same(config: dict[str, Any], dropout: bool) -> None:
    state = BLVNetTAM(**config).state_dict()
    back = from_reference(to_reference(state, dropout))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


def test_counts_of_batches_are_kept_or_many(released: dict[str, Tensor]) -> None:
    count = "backbone.top.0.reduce.norm.num_batches_tracked"
    assert from_reference(released)[count] == 5
    without = {n: t for n, t in released.items() if not n.endswith("tracked")}
    assert from_reference(without)[count] > 1000  # so that they are no first guesses
    assert from_reference(without).keys() == from_reference(released).keys()


@pytest.mark.parametrize("form", ["released", "training", "file object"])
def test_whole_files_fill_the_whole_network(form: str, released: dict[str, Tensor], tmp_path: Path) -> None:
    content: dict[str, Any] = released
    if form == "training":
        content = {"epoch": 3, "state_dict": {f"module.{n}": t for n, t in released.items()}}
    path = saved(content, tmp_path)
    model = BLVNetTAM(**SMALL)
    assert load_reference(model, io.BytesIO(path.read_bytes()) if form == "file object" else path) == []
    back = to_reference(model.state_dict())
    assert back.keys() == released.keys()
    for name, tensor in released.items():
        assert torch.equal(back[name], tensor), name


def test_imagenet_file_leaves_exactly_the_tams_and_the_classifier(
    released: dict[str, Tensor], tmp_path: Path
) -> None:
    model = BLVNetTAM(**SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept = load_reference(model, saved(imagenet(released), tmp_path))
    tams = [name for name in before if ".tam." in name]
    assert len(tams) == 1 + 3 + 2
    assert kept == sorted([*HEAD, *tams])
    full = from_reference(released)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in kept else full[name]), name


def test_imagenet_file_that_lacks_more_is_refused(released: dict[str, Tensor], tmp_path: Path) -> None:
    content = imagenet(released)
    del content["state_dict"]["module.layer2.fusion.0.bn3.bias"]
    with pytest.raises(WeightsError, match=r"missing: backbone\.stages\.1\.fusion\.expand\.norm\.bias$"):
        load_reference(BLVNetTAM(**SMALL), saved(content, tmp_path))


@pytest.mark.parametrize("channels", [1, 10])
def test_stem_is_averaged_over_rgb_and_repeated(
    channels: int, released: dict[str, Tensor], tmp_path: Path
) -> None:
    model = BLVNetTAM(**SMALL, in_channels=channels)
    load_reference(model, saved(imagenet(released), tmp_path))
    rgb = released["baseline_model.conv1.weight"]
    expected = rgb.mean(1, keepdim=True).repeat(1, channels, 1, 1)
    torch.testing.assert_close(model.state_dict()[STEM], expected)


def test_head_without_dropout_is_read(released: dict[str, Tensor], tmp_path: Path) -> None:
    renamed = {n.replace("new_fc.", "baseline_model.fc."): t for n, t in released.items()}
    model = BLVNetTAM(**SMALL, dropout=0.0)
    load_reference(model, saved(renamed, tmp_path))
    assert torch.equal(model.classifier.weight, released["new_fc.weight"])


def test_every_tensor_that_does_not_fit_is_named(released: dict[str, Tensor]) -> None:
    model = BLVNetTAM(**SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = from_reference(released)
    del state["backbone.stem.tam.weight"], state["classifier.bias"]
    state["backbone.stem.big.conv.weight"] = torch.zeros(64, 64, 1, 1)
    state["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        load(model, state)
    assert str(error.value) == (
        "the weights do not fit the network; missing: backbone.stem.tam.weight, classifier.bias; "
        "unexpected: extra; "
        "misshapen: backbone.stem.big.conv.weight is [64, 64, 1, 1] but must be [64, 64, 3, 3]"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "name",
    [
        "baseline_model.layer9.0.conv1.weight",
        "baseline_model.layer1.little.0.downsample.2.weight",
        "baseline_model.layer1.big.0.downsample.0.weight",
        "baseline_model.tam.before.weight",
        "baseline_model.tam.prev.bias",
        "new_fc.extra.weight",
        "optimizer",
    ],
)
def test_unknown_reference_name_is_unexpected(name: str, released: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="unexpected: ") as error:
        from_reference({**released, name: torch.zeros(64, 1, 1, 1)})
    assert str(error.value).endswith(f"unexpected: {name}")


def test_second_classifier_is_unexpected(released: dict[str, Tensor]) -> None:
    both = {**released, "baseline_model.fc.bias": torch.zeros(7)}
    with pytest.raises(WeightsError, match=r"unexpected: baseline_model\.fc\.bias$"):
        from_reference(both)


def test_tam_without_one_of_its_weights_names_it(released: dict[str, Tensor]) -> None:
    lacking = {n: t for n, t in released.items() if n != "baseline_model.layer2.tam.next.weight"}
    with pytest.raises(WeightsError, match=r"missing: baseline_model\.layer2\.tam\.next\.weight$"):
        from_reference(lacking)
    five = to_reference(BLVNetTAM(**SMALL, blending_frames=5).state_dict())
    del five["baseline_model.tam.blending_layers.1.weight"]
    with pytest.raises(WeightsError, match=r"missing: baseline_model\.tam\.blending_layers\.1\.weight$"):
        from_reference(five)


def test_misshapen_tam_is_named(released: dict[str, Tensor]) -> None:
    name = "baseline_model.tam.curr.weight"
    with pytest.raises(
        WeightsError, match=r"misshapen: baseline_model\.tam\.curr\.weight is \[64, 3, 1, 1\]"
    ):
        from_reference({**released, name: torch.zeros(64, 3, 1, 1)})


def test_weights_of_a_deeper_network_are_refused(released: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        deeper = BLVNetTAM(depth=50).state_dict()
    with pytest.raises(WeightsError, match=r"unexpected: backbone\.stages\.0\.big\.1\.expand"):
        load(BLVNetTAM(**SMALL), deeper)


def test_head_of_other_classes_is_named_and_kept_only_if_asked(released: dict[str, Tensor]) -> None:
    state = from_reference(released)
    longer = BLVNetTAM(depth=26, num_frames=8, num_classes=12)
    head = longer.classifier.weight.clone()
    with pytest.raises(
        WeightsError, match=r"misshapen: classifier\.bias is \[7\] but must be \[12\], classifier"
    ):
        load(longer, state)
    assert load(longer, state, fresh=HEAD) == sorted(HEAD)
    assert torch.equal(longer.classifier.weight, head)
    assert torch.equal(longer.state_dict()[STEM], state[STEM])


def test_name_to_keep_must_be_the_models(released: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="no tensor of the model is called clasifier"):
        load(BLVNetTAM(**SMALL), from_reference(released), fresh=["clasifier"])


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("code from a pickle ran",))


def test_code_in_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pth holds an object of \S*print, which may run code"):
        read(saved({"state_dict": Hostile()}, tmp_path))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    with pytest.raises(WeightsError, match=r"plain\.pth holds an object of \S*print"):
        read(tmp_path / "plain.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("keep", [0, 1, 100, -100])
def test_damaged_file_is_named(keep: int, tmp_path: Path) -> None:
    path = saved({"weight": torch.zeros(1000)}, tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"weights\.pth holds no weights, or damaged ones: \S"):
        read(path)


def test_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.pth")


def test_content_that_is_no_state_dict_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a list, not a dict"):
        read(saved([torch.zeros(1)], tmp_path))
    with pytest.raises(WeightsError, match="no tensors: epoch"):
        from_reference({"epoch": 3})
    with pytest.raises(WeightsError, match="`state_dict` is a int"):
        from_reference({"state_dict": 3})


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(59.1),
        np.float32(1.5),
        np.int64(3),
        np.bool_(True),
        np.arange(3.0),
        Namespace(lr=0.01, arch="x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_harmless_objects_beside_the_tensors_load(tmp_path: Path, beside: object) -> None:
    file = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": {"a": torch.ones(2)}, "best_top1": beside}, file)
    assert torch.equal(read(file)["state_dict"]["a"], torch.ones(2))


def test_what_is_no_file_of_weights_is_told_without_an_essay(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("# A read-me\n")
    with pytest.raises(WeightsError) as caught:
        read(file)
    assert str(caught.value) == f"{file} holds no weights, or damaged ones: not what torch.save writes"


def test_an_archive_around_a_file_of_weights_is_not_what_torch_writes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "released.pth.tar", "w") as tar:  # its name says that it is one
        tar.add(saved({"a": torch.zeros(3)}, tmp_path), "released.pth")
    with pytest.raises(WeightsError, match=r"damaged ones: not what torch\.save writes"):
        read(tmp_path / "released.pth.tar")
