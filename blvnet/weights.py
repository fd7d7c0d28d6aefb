"""Weights in and out: the reference's checkpoints, ImageNet initialisation, shorter-clip models.

The reference's names differ from ours, and it keeps each TAM as one tensor a blended frame. Three forms of its
files are read: released models (a flat dict), training checkpoints (`state_dict`, names with `module.`), and
ImageNet bL-ResNets (`state_dict`, `module.`, no TAM, a classifier of other classes).
"""

import io
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

StateDict = dict[str, Tensor]

_BACKBONE = "baseline_model."
_HEADS = ("new_fc.", "baseline_model.fc.")
_IMAGE_HEAD = "fc."
_PARTS = {"1": "reduce", "2": "spatial", "3": "expand"}
# Of statistics that come without their count: no first guesses, which the batches to come would replace.
_MANY_BATCHES = 1 << 20
_STEM = {
    "conv1": "frames.conv",
    "bn1": "frames.norm",
    "b_conv0": "big.conv",
    "bn_b0": "big.norm",
    **{f"l_conv{i}": f"little.{i}.conv" for i in range(3)},
    **{f"bn_l{i}": f"little.{i}.norm" for i in range(3)},
    "bl_init": "merge.conv",
    "bn_bl_init": "merge.norm",
}
_STEM_BACK = {ours: theirs for theirs, ours in _STEM.items()}
STEM_CONV = "backbone.stem.frames.conv.weight"
HEAD = ("classifier.weight", "classifier.bias")
"""The tensors whose shape follows the classes."""


class WeightsError(ValueError):
    """Weights that do not fit: the message names every tensor that is missing, unexpected or misshapen."""


def from_reference(state_dict: Mapping[str, Any]) -> StateDict:
    """The reference's tensors under our names: from the flat form, or from a checkpoint's `state_dict`.

    ImageNet files have no TAM and a classifier that is not ours: neither is in the result. A batch norm's missing
    `num_batches_tracked` becomes a large one. Tensors with unknown names, and TAMs with a weight missing, raise
    WeightsError.
    """
    flat = _flat(state_dict)
    ours: StateDict = {}
    unexpected: list[str] = []
    taps: dict[str, dict[str, tuple[str, Tensor]]] = {}
    imagenet = not any(name.startswith(_BACKBONE) for name in flat)
    for name, tensor in flat.items():
        if imagenet:
            if name.startswith(_IMAGE_HEAD):
                continue
            renamed = _rename(name)
        elif name.startswith(_HEADS) and name.count(".") == name.startswith(_BACKBONE) + 1:
            renamed = "classifier." + name.rpartition(".")[2]
        else:
            renamed = _rename(name.removeprefix(_BACKBONE)) if name.startswith(_BACKBONE) else None
        if renamed is None or renamed in ours:
            unexpected.append(name)
        elif match := re.fullmatch(r"(.*\.tam)\.(prev|curr|next|\d+)", renamed):
            taps.setdefault(match[1], {})[match[2]] = (name, tensor)
        else:
            ours[renamed] = tensor
    missing = _stack_taps(taps, ours)
    if missing or unexpected:
        raise WeightsError(_complaint(missing=missing, unexpected=unexpected))
    for name in [n for n in ours if n.endswith("running_var")]:
        ours.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(_MANY_BATCHES))
    return ours


def to_reference(state_dict: Mapping[str, Tensor], dropout: bool = True) -> StateDict:
    """Our tensors in the reference's flat form; its classifier has another name in models without dropout.

    Those of a network of images get the names of an ImageNet bL-ResNet file.
    """
    images = not has_tam(state_dict)
    prefix, head = ("", _IMAGE_HEAD) if images else (_BACKBONE, _HEADS[0 if dropout else 1])
    theirs: StateDict = {}
    unexpected = []
    for name, tensor in state_dict.items():
        if name.startswith("classifier."):
            theirs[head + name.removeprefix("classifier.")] = tensor
        elif (renamed := _rename_back(name)) is None:
            unexpected.append(name)
        elif renamed.endswith("tam.weight"):
            stem = _BACKBONE + renamed.removesuffix("weight")
            r = tensor.shape[1]
            for tap, column in zip(_tap_names(r), tensor.unbind(1), strict=True):
                theirs[f"{stem}{tap}.weight"] = column.reshape(-1, 1, 1, 1).clone()
        else:
            theirs[prefix + renamed] = tensor
    if unexpected:
        raise WeightsError(_complaint(unexpected=unexpected))
    return theirs


def load_reference(model: nn.Module, file: str | Path | IO[bytes]) -> list[str]:
    """Load one of the reference's files into a BLVNetTAM; returns the names of tensors kept as initialised.

    These are none, but for an ImageNet file: a video network keeps its TAMs and its classifier, and nothing else. A
    stem for RGB is averaged over the three and repeated where the model's input has another number of channels. What
    does not fit raises WeightsError. Nothing but tensors is unpickled.
    """
    content = read(file)
    state = from_reference(content)
    if not has_tam(model.state_dict()):
        head = {n: t for n, t in _flat(content).items() if n.startswith(_IMAGE_HEAD)}
        state |= {"classifier." + name.removeprefix(_IMAGE_HEAD): tensor for name, tensor in head.items()}
    return load(model, adapt_stem(state, model), fresh_after_images(state, model))


def has_tam(state_dict: Iterable[str]) -> bool:
    """Whether tensors of these names are a video network's; one of images has no TAM."""
    return any(name.endswith("tam.weight") for name in state_dict)


def fresh_after_images(state_dict: Iterable[str], model: nn.Module) -> tuple[str, ...]:
    """The tensors that a video `model` keeps as initialised when `state_dict` is of a network of images; else none."""
    own = model.state_dict()
    if has_tam(state_dict) or not has_tam(own):
        return ()
    return (*HEAD, *(name for name in own if name.endswith("tam.weight")))


def load(model: nn.Module, state_dict: Mapping[str, Tensor], fresh: Iterable[str] = ()) -> list[str]:
    """Copy `state_dict` (our names) into `model`, all of it or nothing; returns the names kept as initialised.

    `fresh` names tensors that keep the model's own values, whatever `state_dict` has under those names. Every
    other tensor that is missing, unexpected or misshapen is named in the WeightsError.

    The weights do not depend on the clip's length, so this starts a longer-clip model from a shorter one's
    weights; where the classes differ, pass `fresh=HEAD`.
    """
    kept = set(fresh)
    own = model.state_dict()
    if unknown := kept - own.keys():
        raise WeightsError(f"no tensor of the model is called {_listed(unknown)}")
    wanted = own.keys() - kept
    given = state_dict.keys() - kept
    misshapen = [
        f"{name} is {list(state_dict[name].shape)} but must be {list(own[name].shape)}"
        for name in sorted(wanted & given)
        if state_dict[name].shape != own[name].shape
    ]
    if misshapen or wanted != given:
        raise WeightsError(_complaint(wanted - given, given - wanted, misshapen))
    model.load_state_dict({name: state_dict[name] for name in wanted}, strict=False)
    return sorted(kept)


def adapt_stem(state_dict: StateDict, model: nn.Module) -> StateDict:
    """`state_dict` with its RGB stem averaged and repeated for the model's number of input channels."""
    stem = state_dict.get(STEM_CONV)
    channels = model.get_parameter(STEM_CONV).shape[1]
    if stem is None or stem.dim() != 4 or stem.shape[1] != 3 or channels == 3:
        return state_dict
    return {**state_dict, STEM_CONV: stem.mean(1, keepdim=True).expand(-1, channels, -1, -1)}


def read(file: str | Path | IO[bytes]) -> dict[str, Any]:
    """The dict in a file that torch.save wrote, on the CPU; code in it is refused with a WeightsError."""
    content = Path(file).read_bytes() if isinstance(file, (str, Path)) else file.read()
    try:
        with torch.serialization.safe_globals(_harmless()):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        if refused := re.search(r"(?:Unsupported global: GLOBAL|Unsupported class) (\S+)", str(error)):
            raise WeightsError(
                f"{_name(file)} holds an object of {refused[1]}, which may run code when it is loaded; save its "
                "`state_dict` alone, in the environment that it comes from"
            ) from error
        reason = _reason(error) if content else "it is empty"
        raise WeightsError(f"{_name(file)} holds no weights, or damaged ones: {reason}") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{_name(file)} holds a {type(loaded).__name__}, not a dict of tensors")
    return loaded


def _reason(error: Exception) -> str:
    """What torch says of a file, in its first sentence; others are slips of the unpickler, or advice to run code."""
    said, *_ = re.split(r"\.\s|\n", str(error).strip(), maxsplit=1)
    meant = isinstance(error, RuntimeError | EOFError) and "weights_only" not in said
    return said if said and meant else "not what torch.save writes"


def _harmless() -> list[Any]:
    """What training checkpoints hold beside tensors, and what runs no code: NumPy's numbers and arrays, and options."""
    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    named = [
        (maker, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")  # of NumPy 1 and 2
        for name, maker in makers.items()
    ]
    return [*named, np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"), Namespace]


def _name(file: str | Path | IO[bytes]) -> str:
    return str(file) if isinstance(file, (str, Path)) else str(getattr(file, "name", "the file"))


def _flat(content: Mapping[str, Any]) -> StateDict:
    """The tensors of any of the three forms, without the prefix of a data-parallel wrapper."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        raise WeightsError(f"`state_dict` is a {type(inner).__name__}, not a dict of tensors")
    if odd := [name for name, value in inner.items() if not isinstance(value, Tensor)]:
        raise WeightsError(f"no tensors: {_listed(odd)}")
    return {name.removeprefix("module."): value for name, value in inner.items()}


def _rename(name: str) -> str | None:
    """Our name of the reference's `name` (without backbone prefix); a TAM's tensor keeps its tap: `....tam.prev`."""
    path, _, leaf = name.rpartition(".")
    if path in _STEM:
        return f"backbone.stem.{_STEM[path]}.{leaf}"
    if match := re.fullmatch(
        r"(?:(layer[123]|layer4\.\d+)\.)?tam\.(?:blending_layers\.)?(prev|curr|next|\d+)", path
    ):
        return f"{_stage(match[1])}.tam.{match[2]}" if leaf == "weight" else None
    if match := re.fullmatch(r"(layer[123])\.little_e\.([01])", path):
        return f"{_stage(match[1])}.widen.{('conv', 'norm')[int(match[2])]}.{leaf}"
    if not (match := re.fullmatch(r"(layer[123]\.(?:big|little|fusion)\.\d+|layer4\.\d+)\.(.+)", path)):
        return None
    block, part = _stage(match[1]), match[2]
    if inner := re.fullmatch(r"(conv|bn)([123])", part):
        return f"{block}.{_PARTS[inner[2]]}.{('norm', 'conv')[inner[1] == 'conv']}.{leaf}"
    first = _first_of_downsample(block)
    if part in (f"downsample.{first}", f"downsample.{first + 1}"):
        return f"{block}.project.{('conv', 'norm')[int(part[-1]) - first]}.{leaf}"
    return None


def _rename_back(name: str) -> str | None:
    """The reference's name (without backbone prefix) of ours; a TAM's tensor is still one."""
    path, _, leaf = name.rpartition(".")
    path = path.removeprefix("backbone.")
    if path.startswith("stem."):
        part = path.removeprefix("stem.")
        return (
            f"tam.{leaf}" if part == "tam" else f"{_STEM_BACK[part]}.{leaf}" if part in _STEM_BACK else None
        )
    if not (match := re.fullmatch(r"(?:stages\.([012])|top\.(\d+))\.(.+)", path)):
        return None
    stage = f"layer{int(match[1]) + 1}" if match[1] else f"layer4.{match[2]}"
    part = match[3]
    if part == "tam":
        return f"{stage}.tam.{leaf}"
    if match[1]:
        if part.startswith("widen."):
            return f"{stage}.little_e.{('conv', 'norm').index(part.removeprefix('widen.'))}.{leaf}"
        part = re.sub(r"^fusion\.", "fusion.0.", part)
    if not (match := re.fullmatch(r"(.*\.)?(reduce|spatial|expand|project)\.(conv|norm)", part)):
        return None
    within, role, kind = match[1] or "", match[2], match[3]
    if role == "project":
        index = _first_of_downsample(path) + (kind == "norm")
        return f"{stage}.{within}downsample.{index}.{leaf}"
    number = next(n for n, r in _PARTS.items() if r == role)
    return f"{stage}.{within}{'conv' if kind == 'conv' else 'bn'}{number}.{leaf}"


def _stage(path: str | None) -> str:
    """`layer2.big.1` -> `backbone.stages.1.big.1`; `layer4.0` -> `backbone.top.0`; None -> the stem."""
    if path is None:
        return "backbone.stem"
    if path.startswith("layer4."):
        return f"backbone.top.{path.removeprefix('layer4.')}"
    stage, _, rest = path.removeprefix("layer").partition(".")
    rest = "fusion" if rest == "fusion.0" else rest
    return f"backbone.stages.{int(stage) - 1}" + (f".{rest}" if rest else "")


def _first_of_downsample(block: str) -> int:
    """Where the reference's shortcut has its convolution: after the pool, or first where nothing is pooled."""
    return 0 if ".little." in block else 1


def _tap_names(taps: int) -> tuple[str, ...]:
    """The reference's names of a TAM's weights, earliest frame first."""
    return ("prev", "curr", "next") if taps == 3 else tuple(f"blending_layers.{i}" for i in range(taps))


def _stack_taps(taps: dict[str, dict[str, tuple[str, Tensor]]], ours: StateDict) -> list[str]:
    """Put each TAM's weights into `ours` as one (C, r) tensor; returns the names of the weights that are not there."""
    missing: list[str] = []
    misshapen: list[str] = []
    for tam, found in taps.items():
        if found.keys() & {"prev", "curr", "next"}:
            order = ["prev", "curr", "next"]
        else:
            order = [str(i) for i in range(max(map(int, found)) + 1)]
        example = next(iter(found.values()))[0].removesuffix(".weight").rpartition(".")[0]
        absent = [f"{example}.{tap}.weight" for tap in order if tap not in found]
        missing += absent
        tensors = [found[tap] for tap in order if tap in found]
        channels = tensors[0][1].shape[0] if tensors[0][1].dim() else 0
        wrong = [(name, t) for name, t in tensors if t.shape != (channels, 1, 1, 1)]
        misshapen += [f"{name} is {list(t.shape)} but must be [{channels}, 1, 1, 1]" for name, t in wrong]
        if not absent and not wrong:
            ours[f"{tam}.weight"] = torch.stack([t.reshape(-1) for _, t in tensors], 1)
    if misshapen:
        raise WeightsError(_complaint(missing, misshapen=misshapen))
    return missing


def _complaint(
    missing: Iterable[str] = (), unexpected: Iterable[str] = (), misshapen: Iterable[str] = ()
) -> str:
    lists = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    return "the weights do not fit the network; " + "; ".join(
        f"{kind}: {_listed(names)}" for kind, names in lists.items() if names
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
