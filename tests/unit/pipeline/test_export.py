"""Exported checkpoints give the network's logits in whatever reads them."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from blvnet import BLVNetTAM, weights
from blvnet.tam import TemporalAggregation
from pipeline import export
from pipeline.exporting import portable
from pipeline.training.normalise import Normaliser
from sharding import storage
from tests import shards

MODEL = {"depth": 26, "num_frames": 2, "alpha": 4, "beta": 4, "blending_frames": 3, "dropout": 0.5}
CLASSES = [*shards.CLASSES[:2], "Zusammenfügen von etwas, \N{GREEK SMALL LETTER ALPHA}"]


@pytest.fixture(scope="module")
def network(clips: torch.Tensor) -> BLVNetTAM:
    """A network in which every tensor counts, with the statistics of `clips`."""
    torch.manual_seed(0)
    model = BLVNetTAM(num_classes=len(CLASSES), **MODEL)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
        elif isinstance(module, TemporalAggregation):
            nn.init.uniform_(module.weight, 0.0, 0.8)
    nn.init.normal_(model.classifier.weight, std=0.05)
    nn.init.normal_(model.classifier.bias)
    with torch.no_grad():
        model(Normaliser(torch.device("cpu"))(clips))
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(network: BLVNetTAM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {
        "model": MODEL,
        "data": {"root": "x", "size": 48, "short_side": 48},
        "run": {"folder": "x"},
    }
    path = tmp_path_factory.mktemp("checkpoint") / "step-00000001.pt"
    torch.save({"model": network.state_dict(), "config": config, "classes": CLASSES}, path)
    return path


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    """Noise, each clip brighter than the one before."""
    noise = torch.rand(5, 2, 3, 48, 48, generator=torch.Generator().manual_seed(7))
    return (noise * torch.arange(50, 300, 50).view(5, 1, 1, 1, 1)).to(torch.uint8)


@pytest.fixture(scope="module")
def logits(network: BLVNetTAM, clips: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(Normaliser(torch.device("cpu"))(clips))
    assert found.std(0).min() > 1e-2 and found.std(0).max() < 10  # they tell the clips apart
    return found


def command(checkpoint: Path, kind: str, out: str | Path) -> list[str]:
    return ["--checkpoint", str(checkpoint), "--format", kind, "--out", str(out)]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=export.TOLERANCE, atol=export.TOLERANCE)


def test_the_archive_runs_any_number_of_clips(
    checkpoint: Path,
    clips: torch.Tensor,
    logits: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "deep" / "model.pt2"
    assert export.main(command(checkpoint, "torch", out)) == 0
    assert f"{out}: " in (said := capsys.readouterr().out) and "of the network's" in said
    extra = {"about.json": ""}
    program = torch.export.load(out, extra_files=extra).module()
    for batch in (1, 2, 5):
        close(program(clips[:batch]), logits[:batch])
    about = json.loads(extra["about.json"])
    assert json.loads(about["classes"]) == CLASSES and about["size"] == "48"
    assert about["input"].startswith("uint8 RGB clips (batch, 2, 3, 48, 48)")


def test_onnxruntime_runs_the_graph(
    checkpoint: Path, clips: torch.Tensor, logits: torch.Tensor, tmp_path: Path
) -> None:
    import onnxruntime

    out = tmp_path / "model.onnx"
    assert export.main(command(checkpoint, "onnx", out)) == 0
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("clips", "tensor(uint8)", ["batch", 2, 3, 48, 48])
    assert (given.name, given.shape) == ("logits", ["batch", len(CLASSES)])
    for batch in (1, 2, 5):
        (found,) = session.run(None, {"clips": clips[:batch].numpy()})
        close(torch.from_numpy(found), logits[:batch])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES
    assert json.loads(about["model"]) == {"num_classes": 3, "in_channels": 3, **MODEL}


def test_safetensors_hold_the_weights_and_what_they_belong_to(
    checkpoint: Path, network: BLVNetTAM, tmp_path: Path
) -> None:
    from safetensors.torch import load

    out = tmp_path / "model.safetensors"
    assert export.main(command(checkpoint, "safetensors", out)) == 0
    content = out.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    about = json.loads(content[8 : 8 + length])["__metadata__"]
    model = BLVNetTAM(**json.loads(about["model"]))
    model.load_state_dict(load(content))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in network.state_dict().items())
    assert json.loads(about["classes"]) == CLASSES
    np.testing.assert_allclose(json.loads(about["mean"]), [0.485, 0.456, 0.406])


def test_the_references_checkpoint_loads_as_one_of_its_own(
    checkpoint: Path, network: BLVNetTAM, clips: torch.Tensor, logits: torch.Tensor, tmp_path: Path
) -> None:
    out = tmp_path / "model.pth.tar"
    assert export.main(command(checkpoint, "reference", out)) == 0
    theirs = torch.load(out, weights_only=True)
    assert {"new_fc.weight", "baseline_model.conv1.weight", "baseline_model.tam.prev.weight"} <= theirs.keys()
    model = BLVNetTAM(num_classes=3, **MODEL).eval()  # type: ignore[arg-type]
    assert weights.load_reference(model, out) == []
    with torch.no_grad():
        assert torch.equal(model(Normaliser(torch.device("cpu"))(clips)), logits)


def test_what_differs_from_the_network_is_not_published(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def changed(source: portable.Source) -> bytes:
        state = {**source.state, "classifier.bias": source.state["classifier.bias"] + 1e-2}
        return portable.write_safetensors(source._replace(state=state))

    monkeypatch.setitem(portable.FORMATS, "safetensors", portable.Format(changed, portable.read_safetensors))
    out = tmp_path / "model.safetensors"
    assert export.main(command(checkpoint, "safetensors", out)) == 2
    assert "differ from the network's by 0.01; nothing was written" in capsys.readouterr().err
    assert not out.exists()


def test_mistakes_are_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main(command(tmp_path / "nowhere.pt", "onnx", tmp_path / "x")) == 2
    assert "nowhere.pt: no such checkpoint" in capsys.readouterr().err
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert export.main(command(checkpoint, "onnx", tmp_path / "x")) == 2
    error = capsys.readouterr().err
    assert "needs onnxruntime, which is missing; pip install 'blvnet-pipeline[export]'" in error
    assert error.count("\n") == 1


@pytest.mark.store
def test_an_export_goes_into_a_bucket(checkpoint: Path, network: BLVNetTAM, s3: str) -> None:
    url = storage.join(s3, "out", "model.pth.tar")
    assert export.main(command(checkpoint, "reference", url)) == 0
    theirs = torch.load(io.BytesIO(storage.read_bytes(url)), weights_only=True)
    assert torch.equal(theirs["new_fc.bias"], network.classifier.bias.detach())
