"""Released weights: scored, exported and refused, by `--model` and `--reference-weights`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from blvnet import create_model, weights
from blvnet.zoo import ZOO
from pipeline import evaluate, export
from pipeline.config import Init
from pipeline.evaluation import protocol, trained
from pipeline.run import checkpoint
from pipeline.training.initialise import initialise
from sharding.errors import UserError
from tests import shards

V2, K400 = "blvnet-tam-50-f8x2-v2", "blvnet-tam-50-f8x2-k400"
NAMES = [f"Doing [something] {i}" for i in range(400)]
SMALL = ["data.size=32", "data.short_side=36", "data.workers=0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as the authors release them, in both of torch's formats, and shards with as many classes."""
    folder = tmp_path_factory.mktemp("root")
    torch.manual_seed(0)
    for name in (V2, K400):
        theirs = weights.to_reference(create_model(name).state_dict())
        torch.save(theirs, folder / f"{name}.pth.tar", _use_new_zipfile_serialization=name == V2)
        split = name.rpartition("-")[2]
        shards.make(folder, [3], split, classes=NAMES[: ZOO[name].classes])
    manifest = folder / "v2" / "manifest.json"
    made = manifest.read_text()
    for dataset in ("sthv1", "sthv2"):
        (folder / dataset).mkdir()
        for file in (folder / "v2").iterdir():
            (folder / dataset / file.name).write_bytes(file.read_bytes())
        (folder / dataset / "manifest.json").write_text(
            made.replace('"dataset": "test"', f'"dataset": "{dataset}"')
        )
    return folder


def options(root: Path, name: str) -> list[str]:
    return [f"--model={name}", f"--reference-weights={root}/{name}.pth.tar"]


def test_a_released_model_is_scored_as_a_checkpoint_of_its_weights_is(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        evaluate.main([*options(root, V2), f"--data={root}/sthv2", f"--out={tmp_path}/a", "--json", *SMALL])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["reference_weights"]) == (V2, f"{root}/{V2}.pth.tar")
    assert said["published"]["top1"] == 59.1 and protocol.is_published(said["published"]["views"])
    assert not protocol.is_published(said["views"])  # these are smaller
    found = trained.published(V2, f"{root}/{V2}.pth.tar", None, SMALL)
    state = {"model": found.model.state_dict(), "config": found.config.model_dump(mode="json", by_alias=True)}
    torch.save({**state, "classes": NAMES[:174]}, tmp_path / "own.pt")
    own = [f"--checkpoint={tmp_path}/own.pt", f"--data={root}/sthv2", f"--out={tmp_path}/b"]
    assert evaluate.main(own) == 0
    logits = [np.load(tmp_path / out / "predictions-v2.npz")["logits"] for out in "ab"]
    assert logits[0].shape == (3, 174) and np.array_equal(*logits)


def test_by_itself_a_released_model_sees_what_the_published_scores_saw(root: Path) -> None:
    found = trained.published(V2, f"{root}/{V2}.pth.tar", None, [])
    seen = protocol.views(found.config)
    assert protocol.is_published(seen) and protocol.text(seen) == "1 x 1 (uniform), 224 of 224, fp32"
    larger = trained.published(V2, f"{root}/{V2}.pth.tar", None, ["data.short_side=256"])
    assert not protocol.is_published(protocol.views(larger.config))
    grouped = trained.published(V2, f"{root}/{V2}.pth.tar", None, ["data.frames_per_group=2"])
    seen = protocol.views(grouped.config)
    assert (
        not protocol.is_published(seen) and protocol.text(seen) == "1 x 1 (uniform, by 2), 224 of 224, fp32"
    )


@pytest.mark.parametrize(
    ("changed", "was"), [("model.in_channels=10", 3), ("model.num_frames=32", 16), ("model.depth=101", 50)]
)
def test_a_released_model_stays_the_network_that_its_score_is_of(root: Path, changed: str, was: int) -> None:
    name, _, now = changed.partition("=")
    says = f"--model {V2}: {re.escape(name)} was {was} when this was trained, and cannot be {now}"
    with pytest.raises(UserError, match=says):
        trained.published(V2, f"{root}/{V2}.pth.tar", None, [changed])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (V2, "", "the file holds no weights, or damaged ones: it is empty"),
        (V2, "<html>Sign in to download</html>", "the file holds no weights, or damaged ones: not what torch.save"),
        (K400, None, "the weights do not fit the network; misshapen: classifier.bias is [174] but must be [400]"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_told_which_model_it_is_not(
    root: Path, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    file = tmp_path / "file.pth.tar" if content is not None else root / f"{V2}.pth.tar"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError) as caught:
        trained.published(name, str(file), None, SMALL)
    assert str(caught.value).startswith(f"{file}: not the weights of {name}: {says}")


def test_a_model_of_kinetics_has_its_400_classes_and_no_published_score(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in NAMES))
    command = [*options(root, K400), f"--classes={labels}", f"--data={root}/k400", *SMALL]
    assert evaluate.main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["videos"] == 3 and "published" not in said


def test_a_released_model_is_exported(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in NAMES))
    out = tmp_path / "model.pth.tar"
    found = export.exportable(trained.published(K400, f"{root}/{K400}.pth.tar", str(labels), []))
    assert json.loads(found.about["classes"]) == NAMES and found.size == 224
    assert export.main([*options(root, K400), "--format=reference", f"--out={out}"]) == 0
    ours, theirs = torch.load(out, weights_only=True), weights.read(root / f"{K400}.pth.tar")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        (V2, "--data={root}/sthv1", "{root}/sthv1: shards of sthv1, with its classes; "
         f"{V2} knows the 174 of sthv2"),
        (V2, "--data={root}/k400", f"{{root}}/k400: 400 classes; {V2} knows the 174 of sthv2"),
        (K400, "--data={root}/v2", f"{{root}}/v2: 174 classes; {K400} knows the 400 of Kinetics-400"),
        (V2, "--data={root}/v2 --classes={labels}", "{root}/v2: its classes are not those of --classes, in the same"),
        (K400, "--data={root}/k400 --classes={labels}", f"{{labels}}: 174 classes, and {K400} knows 400"),
    ],
)  # fmt: skip
def test_shards_of_other_classes_are_refused_in_one_line(
    root: Path, tmp_path: Path, name: str, more: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{other}\n" for other in reversed(NAMES[:174])))
    filled = more.format(root=root, labels=labels).split()
    assert evaluate.main([*options(root, name), *filled, *SMALL]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message.format(root=root, labels=labels)}") and said.count("\n") == 1


@pytest.mark.parametrize("suffix", [".pth.tar", ".pt", ".pth"])
@pytest.mark.parametrize("form", [V2, K400, "training", "imagenet"])
def test_a_reference_file_as_a_checkpoint_is_told_where_it_belongs(
    root: Path, tmp_path: Path, form: str, suffix: str
) -> None:
    file = tmp_path / f"file{suffix}"
    if form in ZOO:
        file.write_bytes((root / f"{form}.pth.tar").read_bytes())
    else:
        names = {"training": "module.baseline_model.bn1.weight", "imagenet": "module.bn1.weight"}
        torch.save({"epoch": 3, "state_dict": {names[form]: torch.ones(64)}}, file)
    with pytest.raises(UserError, match=r"published implementation.*--reference-weights.*init.reference"):
        checkpoint.load(str(file))
    model = create_model("blvnet-tam-50-f8x2-v2", depth=26)
    with pytest.raises(UserError, match=r"init\.reference"):
        initialise(model, Init.model_validate({"from": str(file)}))


def test_what_is_no_file_of_either_is_still_damaged(tmp_path: Path) -> None:
    others = (
        {"config": {"lr": 0.1}, "net": {}},
        {"config": "resnet", "model": {}},
        {"config": {}, "model": 5},
    )
    for number, content in enumerate(({}, {"a": torch.ones(1)}, [1], *others)):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(checkpoint.DamagedError, match="not a checkpoint of this program"):
            checkpoint.load(str(tmp_path / f"{number}.pt"))


def test_a_file_of_another_program_is_no_checkpoint_to_be_scored(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "config": {"learning_rate": 1}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: names no classes"):
        trained.load(f"{tmp_path}/other.pt", [])
