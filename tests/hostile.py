"""Shard sets of someone who knows the format and means harm: every checksum is right, what it covers is not."""

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharding.format.manifest import Manifest
from sharding.format.sidecar import load_sidecar
from tests import shards

KEY, SAMPLES = "clip-5", 8
Json = dict[str, Any]


@dataclass
class Parts:
    """What the bad sample's span is made of. `text`: its JSON, if it is not that of `meta`."""

    meta: Json
    blob: bytes
    names: list[str]
    text: bytes | None = None

    @property
    def jpegs(self) -> list[bytes]:
        ends = [*self.meta["offsets"][1:], len(self.blob)]
        return [self.blob[a:b] for a, b in zip(self.meta["offsets"], ends, strict=True)]

    def put(self, jpegs: list[bytes]) -> None:
        """Other frames, with the offsets that they have."""
        sizes = [len(jpeg) for jpeg in jpegs]
        self.blob, self.meta["offsets"] = b"".join(jpegs), np.cumsum([0, *sizes[:-1]]).tolist()


@dataclass(frozen=True)
class Harm:
    """One thing that is wrong, and the words that tell it.

    `sample` changes the parts of `KEY`; `row` its row in the sidecar, `sidecar` the whole of that, `manifest` the
    manifest.
    """

    words: str
    sample: Callable[[Parts], Any] = field(default=lambda parts: None)
    row: Callable[[Json], Any] = field(default=lambda row: None)
    sidecar: Callable[[Json], Any] = field(default=lambda sidecar: None)
    manifest: Callable[[Json], Any] = field(default=lambda manifest: None)


def make(root: Path, harm: Harm) -> Manifest:
    """One shard of 8 samples, of which `KEY` is bad. Returns the manifest from before it was."""
    split = shards.make(root, [SAMPLES], frames=4)
    tar, url = Path(split.shard_url(0)), Path(split.sidecar_url(0))
    sidecar = asdict(load_sidecar(str(url)))
    whole, data = tar.read_bytes(), b""
    for row in sidecar["samples"]:
        span = whole[row["offset"] : row["offset"] + row["bytes"]]
        if row["key"] == KEY:
            span = _harmed(span, harm)
        row |= {"offset": len(data), "bytes": len(span), "crc32": zlib.crc32(span)}
        if row["key"] == KEY:
            harm.row(row)
        data += span
    data += bytes(1024)
    data += bytes(-len(data) % tarfile.RECORDSIZE)
    tar.write_bytes(data)
    sidecar |= {"format": 1, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    harm.sidecar(sidecar)
    url.write_text(sidecar.get("raw") or json.dumps(sidecar))
    file = Path(split.root) / "manifest.json"
    content = json.loads(file.read_text())
    content["shards"][0] |= {name: sidecar.get(name) for name in ("bytes", "sha256")}
    content["bytes"] = sidecar.get("bytes")
    harm.manifest(content)
    file.write_text(content.get("raw") or json.dumps(content))
    return split


def _harmed(span: bytes, harm: Harm) -> bytes:
    size = int(span[124:135], 8)
    start = 1024 + size + -size % 512
    length = int(span[start - 512 + 124 : start - 512 + 135], 8)
    parts = Parts(
        json.loads(span[512 : 512 + size]), span[start : start + length], [f"{KEY}.json", f"{KEY}.mjpeg"]
    )
    harm.sample(parts)
    text = json.dumps(parts.meta).encode() if parts.text is None else parts.text
    made = b""
    for name, content in zip(parts.names, (text, parts.blob), strict=True):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        made += info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    return made


def says(**fields: Any) -> Callable[[Any], Any]:
    """Set fields of a JSON object, or of the sample's."""

    def change(found: Any) -> None:
        (found.meta if isinstance(found, Parts) else found).update(fields)

    return change


def lacks(name: str) -> Callable[[Any], Any]:
    return lambda found: (found.meta if isinstance(found, Parts) else found).pop(name)


def in_recipe(**fields: Any) -> Callable[[Json], Any]:
    return lambda sidecar: sidecar["recipe"].update(fields)


def in_shard(**fields: Any) -> Callable[[Json], Any]:
    return lambda manifest: manifest["shards"][0].update(fields)


def in_row(number: int, **fields: Any) -> Callable[[Json], Any]:
    return lambda sidecar: sidecar["samples"][number].update(fields)


def text(content: bytes) -> Callable[[Parts], Any]:
    return lambda parts: setattr(parts, "text", content)


def frame(number: int, jpeg: Callable[[bytes], bytes]) -> Callable[[Parts], Any]:
    """Change one of the JPEGs."""

    def change(parts: Parts) -> None:
        jpegs = parts.jpegs
        jpegs[number] = jpeg(jpegs[number])
        parts.put(jpegs)

    return change


def claiming(width: int, height: int, progressive: bool = False) -> Callable[[bytes], bytes]:
    """A JPEG of 1 kB that claims to be as large."""

    def jpeg(_: bytes) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (48, 40), (200, 30, 90)).save(out, "JPEG", progressive=progressive)
        data = bytearray(out.getvalue().ljust(1000, b"\0"))
        at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
        data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        return bytes(data)

    return jpeg


def of_size(width: int, height: int) -> Callable[[bytes], bytes]:
    """A sound JPEG of another size."""

    def jpeg(_: bytes) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (width, height)).save(out, "JPEG")
        return out.getvalue()

    return jpeg


def all_frames(jpeg: Callable[[bytes], bytes]) -> Callable[[Parts], Any]:
    return lambda parts: parts.put([jpeg(one) for one in parts.jpegs])


def both(*changes: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda found: [change(found) for change in changes]


DEEP = b"[" * 100_000
SAMPLE: dict[str, Harm] = {
    # its JSON
    "no JSON": Harm("its JSON: not JSON", text(b"{")),
    "a list": Harm("its JSON: input should be an object", text(b"[1]")),
    "not UTF-8": Harm("its JSON: not JSON", text(b'{"a": "\xff"}')),
    "JSON nested without end": Harm("its JSON: not JSON: recursion limit", text(DEEP)),
    "JSON nested in a field": Harm("its JSON: not JSON: recursion limit", text(b'{"a": ' + DEEP)),
    "a number of many digits": Harm("its JSON: not JSON: number out of range", text(b'{"width": ' + b"9" * 5000)),
    "no width": Harm("its JSON: width: field required", lacks("width")),
    "no offsets": Harm("its JSON: offsets: field required", lacks("offsets")),
    "no label": Harm("its JSON: label: field required", lacks("label")),
    "no frames": Harm("its JSON: frames: field required", lacks("frames")),
    "a width that is a text": Harm("its JSON: width: input should be a valid integer", says(width="48")),
    "a width that is a fraction": Harm("its JSON: width: input should be a valid integer", says(width=48.5)),
    "no width at all": Harm("its JSON: width: input should be greater than or equal to 1", says(width=0)),
    "a height below nothing": Harm("its JSON: height: input should be greater", says(height=-40)),
    "a million pixels across": Harm("its JSON: width: input should be less", says(width=10**6, height=10**6)),
    "too many pixels": Harm("60000x60000 pixels, more than the 67108864", says(width=60000, height=60000)),
    "offsets that are none": Harm("its JSON: offsets: input should be a valid array", says(offsets=None)),
    "offsets that are an object": Harm("its JSON: offsets: input should be a valid", says(offsets={"0": 0})),
    "offsets that are texts": Harm("its JSON: offsets.0: input should be", says(offsets=["0", "1", "2", "3"])),
    "offsets below nothing": Harm("its JSON: offsets.1: input should be greater", says(offsets=[0, -5, 9, 10])),
    "offsets that fall": Harm("frame 1: from byte 9 to 5", says(offsets=[0, 9, 5, 10])),
    "offsets that stand": Harm("frame 1: from byte 9 to 9", says(offsets=[0, 9, 9, 10])),
    "offsets behind the end": Harm("frame 3: from byte 1000000000000 to ", says(offsets=[0, 9, 20, 10**12])),
    "a first offset of more": Harm("frame 0: from byte 1 to 9", says(offsets=[1, 9, 20, 30])),
    "offsets of huge numbers": Harm("its JSON: offsets.1: input should be less", says(offsets=[0, 10**30, 1, 2])),
    "too few offsets": Harm("disagree on frames or label", says(offsets=[0, 9])),
    "frames of more": Harm("disagree on frames or label", says(frames=50)),
    "another label": Harm("disagree on frames or label", says(label=0)),
    "a label that is a text": Harm("its JSON: label: input should be a valid integer", says(label="2")),
    # the sidecar's row of it
    "another label in the row": Harm("disagree on frames or label", row=says(label=0)),
    "no label in the row": Harm("disagree on frames or label", row=says(label=None)),
    "other frames in the row": Harm("disagree on frames or label", row=says(frames=50)),
    "another key in the row": Harm("expected member clip-99.json at byte 0, found", row=says(key="clip-99")),
    "another CRC in the row": Harm("its CRC-32 differs", row=says(crc32=7)),
    # its members
    "a path out": Harm("expected member clip-5.json", lambda parts: parts.names.__setitem__(0, "../clip-5.json")),
    "another sample's frames": Harm("expected member clip-5.mjpeg", lambda p: p.names.__setitem__(1, "clip-4.mjpeg")),
    "no frames in it": Harm("frame 3: from byte ", lambda parts: setattr(parts, "blob", b"")),
    # its frames
    "all frames of another size": Harm("frame 0 is 64x40, should be 48x40", all_frames(of_size(64, 40))),
    "smaller frames": Harm("frame 0 is 40x32, should be 48x40", all_frames(of_size(40, 32))),
    "larger than its JSON says": Harm("frame 0 is 48x40, should be 40x32", says(width=40, height=32)),
    "huge by its JSON alone": Harm("frame 0 is 48x40, should be 8000x8000", says(width=8000, height=8000)),
    "one frame of another size": Harm("frame 3 is 64x40, should be 48x40", frame(3, of_size(64, 40))),
    "a frame that is none": Harm("frame 2: not a JPEG", frame(2, lambda jpeg: b"no picture")),
    "a frame cut short": Harm("JPEG", frame(0, lambda jpeg: jpeg[: len(jpeg) // 2])),
    "a header cut short": Harm("frame 1: not a JPEG", frame(1, lambda jpeg: jpeg[:100])),
    "a huge frame": Harm("frame 1: 60000x60000 pixels, more than", frame(1, claiming(60000, 60000))),
    "a huge progressive frame": Harm("frame 1: 60000x60000 pixels", frame(1, claiming(60000, 60000, True))),
    "more than its bytes hold": Harm(
        "frame 0: 8000x8000 pixels, which 1000 bytes cannot hold",
        both(all_frames(claiming(8000, 8000)), says(width=8000, height=8000)),
    ),
    "progressive, and more than its bytes hold": Harm(
        "frame 0: 8000x8000 pixels, which 1000 bytes cannot hold",
        both(all_frames(claiming(8000, 8000, True)), says(width=8000, height=8000)),
    ),
}  # fmt: skip
"""What is wrong with one sample: it is damaged, and another may stand in for it."""

SIDECAR: dict[str, Harm] = {
    "no JSON": Harm("not a shard's sidecar (not JSON", sidecar=says(raw="{")),
    "a list": Harm("input should be an object", sidecar=says(raw="[]")),
    "JSON nested without end": Harm("recursion limit", sidecar=says(raw=DEEP.decode())),
    "another format": Harm("format version 4, this program reads version 1", sidecar=says(format=4)),
    "no samples": Harm("(samples: field required)", sidecar=lacks("samples")),
    "samples that are a text": Harm("samples: input should be a valid array", sidecar=says(samples="x")),
    "a row of something else": Harm("samples.0: input should be", sidecar=says(samples=[1] * SAMPLES)),
    "a field more": Harm("samples.5.more: unexpected keyword argument", row=says(more=1)),
    "a field less": Harm("samples.5.crc32: field required", row=lacks("crc32")),
    "bytes that are a text": Harm("samples.5.bytes: input should be a valid integer", row=says(bytes="12")),
    "bytes that are a fraction": Harm("samples.5.bytes: input should be a valid integer", row=says(bytes=12.5)),
    "bytes below nothing": Harm("samples.5.bytes: input should be greater", row=says(bytes=-5)),
    "no bytes": Harm("samples.5.bytes: input should be greater", row=says(bytes=0)),
    "bytes of a huge number": Harm("samples.5.bytes: input should be less", row=says(bytes=10**30)),
    "bytes of more than there is": Harm("sample clip-6: at byte ", row=says(bytes=10**10)),
    "bytes of more than the tar": Harm("its samples end at byte ", sidecar=in_row(7, bytes=10**10)),
    "no offset": Harm("samples.5.offset: input should be a valid integer", row=says(offset=None)),
    "an offset below nothing": Harm("samples.5.offset: input should be greater", row=says(offset=-512)),
    "an offset with a gap": Harm("sample clip-5: at byte 99999, should be at ", row=says(offset=99999)),
    "a label that is a text": Harm("samples.5.label: input should be a valid integer", row=says(label="x")),
    "a label of no class": Harm("sample clip-5: label 99 of 3 classes", row=says(label=99)),
    "a label below nothing": Harm("samples.5.label: input should be greater", row=says(label=-1)),
    "no frames": Harm("samples.5.frames: input should be greater", row=says(frames=0)),
    "frames that are a text": Harm("samples.5.frames: input should be a valid integer", row=says(frames="x")),
    "a CRC of more bits": Harm("samples.5.crc32: input should be less", row=says(crc32=1 << 32)),
    "a key that leads out": Harm("samples.5.key: value error, contains a path separator", row=says(key="../../x")),
    "a key from the root": Harm("samples.5.key: value error, contains a path separator", row=says(key="/etc/x")),
    "a key with a dot": Harm("samples.5.key: value error, contains a dot", row=says(key="a.b")),
    "a key of nothing": Harm("samples.5.key: value error, is empty", row=says(key="")),
    "no key": Harm("samples.5.key: input should be a valid string", row=says(key=None)),
    "a key twice": Harm("a key appears twice", row=says(key="clip-4")),
    "a name that leads out": Harm("(name: string should match", sidecar=says(name="../../../etc/x.tar")),
    "another shard's name": Harm("shard-000000.json: ", sidecar=says(name="shard-000001.tar")),
    "a hash of something": Harm("(sha256: string should match", sidecar=says(sha256="x"),
                                manifest=in_shard(sha256="0" * 64)),
    "settings that are a list": Harm("recipe.settings: input should be", sidecar=in_recipe(settings=[])),
    "shards that are a text": Harm("recipe.shards: input should be", sidecar=in_recipe(shards="x")),
    "a thousand million shards": Harm("recipe.shards: input should be", sidecar=in_recipe(shards=10**9)),
    "classes that are none": Harm("recipe.classes: input should be", sidecar=in_recipe(classes=None)),
    "a failure without a reason": Harm("failures.0.reason: field required", sidecar=says(failures=[{"key": "x"}])),
}  # fmt: skip
"""What is wrong with a sidecar: nothing of its shard can be used."""

MANIFEST: dict[str, Harm] = {
    "no JSON": Harm("not a manifest (not JSON", manifest=says(raw="{")),
    "JSON nested without end": Harm("recursion limit", manifest=says(raw=DEEP.decode())),
    "classes that are none": Harm("(classes: input should be", manifest=says(classes=None)),
    "settings that are a list": Harm("(settings: input should be", manifest=says(settings=[])),
    "a split that is a number": Harm("(split: input should be", manifest=says(split=5)),
    "a dataset that is none": Harm("(dataset: input should be", manifest=says(dataset=None)),
    "a name that is a number": Harm("(shards.0.name: input should be", manifest=in_shard(name=5)),
    "a name that leads out": Harm("(shards.0.name: string should", manifest=in_shard(name="../../../etc/passwd")),
    "a shard twice": Harm("shard-000000.tar is in it twice", manifest=lambda m: m["shards"].append(m["shards"][0])),
    "more samples than fit": Harm("shard-000000.tar: 1000000000000 samples", manifest=in_shard(samples=10**12)),
    "bytes below nothing": Harm("(shards.0.bytes: input should be", manifest=in_shard(bytes=-1)),
    "frames that are a text": Harm("(frames: input should be", manifest=says(frames="x")),
    "other totals": Harm("its totals are not the sums of its shards", manifest=says(frames=1)),
}  # fmt: skip
"""What is wrong with a manifest: nothing of the split can be used."""

_MUCH = 10**10
HUGE: dict[str, Harm] = {
    "a last sample of 10 GB, in sidecar and manifest": Harm(
        "ends at byte ", sidecar=both(in_row(7, bytes=_MUCH), says(bytes=2 * _MUCH))
    ),
    "frames of 3,600 million pixels": Harm(
        "60000x60000 pixels, more than",
        both(all_frames(claiming(60000, 60000)), says(width=60000, height=60000)),
    ),
    "progressive frames of 3,600 million pixels": Harm(
        "60000x60000 pixels, more than",
        both(all_frames(claiming(60000, 60000, True)), says(width=60000, height=60000)),
    ),
    "frames of 60 million pixels": Harm(
        "7500x8000 pixels, which 1000 bytes cannot hold",
        both(all_frames(claiming(7500, 8000)), says(width=7500, height=8000)),
    ),
}
"""What would take more memory than there is, if it were believed."""
