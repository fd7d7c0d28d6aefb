"""A fingerprint: what a shard set has, a row a sample, and the file that holds it (NumPy's npz, nothing pickled)."""

import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sharding import storage
from sharding.errors import UserError
from sharding.fingerprints import look
from sharding.format import schema

_FORMAT = 1
ROW = np.dtype(
    [
        ("split", "<u1"),
        (
            "label",
            "<i4",
        ),  # -1: none; of a split with several labels a sample: the place of its list in `Split.labels`
        ("frames", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("fps", "<f4"),  # 0: not known
        ("look", "<u1", (look.BYTES,)),
    ]
)
"""What is known of a sample, 53 bytes; `split` is the index of its split, `look` the numbers of `look.of_sample`."""

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """One split as its manifest tells: its class names, settings, and failed videos with the reasons."""

    __pydantic_config__ = schema.EXACT

    name: str
    classes: list[str]
    settings: dict[str, Any]
    failures: dict[str, str] = field(default_factory=dict)
    manifest: str = ""
    "The manifest's SHA-256."
    labels: list[list[int]] = field(default_factory=list)
    "Where samples have several labels: every list of them that there is."

    def names(self, label: int) -> str:
        """What the `label` of a row stands for."""
        of_row = [label]
        if self.labels:
            of_row = self.labels[label] if 0 <= label < len(self.labels) else []
        known = [self.classes[one] for one in of_row if 0 <= one < len(self.classes)]
        return ", ".join(known) or "no label"


@dataclass(frozen=True)
class Fingerprint:
    """What a set has: its splits, and a row and a key for each sample."""

    splits: list[Split]
    keys: list[str]
    rows: Rows


@dataclass(frozen=True)
class _Header:
    __pydantic_config__ = schema.EXACT

    format: int
    splits: list[Split]


def save(url: str, fingerprint: Fingerprint) -> int:
    """Publish a fingerprint, the same bytes for equal ones. Returns how many bytes it has."""
    splits = [asdict(split) for split in fingerprint.splits]
    for split in splits:
        if not split["labels"]:  # as it was before there were any
            del split["labels"]
    header = json.dumps({"format": _FORMAT, "splits": splits}, ensure_ascii=False).encode()
    keys = "\n".join(fingerprint.keys).encode()
    out = io.BytesIO()
    np.savez_compressed(
        out,
        header=np.frombuffer(header, np.uint8),
        keys=np.frombuffer(keys, np.uint8),
        rows=fingerprint.rows,
    )
    storage.write_bytes(url, out.getvalue())
    return len(out.getvalue())


def load(url: str) -> Fingerprint:
    """The fingerprint in the file at `url`. Raises `UserError` for one that is missing or damaged."""
    data = storage.read_bytes(url)
    try:
        with np.load(io.BytesIO(data)) as arrays:
            header = schema.parse(_Header, arrays["header"].tobytes())
            keys = arrays["keys"].tobytes().decode()
            rows = arrays["rows"]
        if header.format != _FORMAT:
            raise ValueError(f"format version {header.format}, this program reads version {_FORMAT}")
        found = Fingerprint(header.splits, keys.split("\n") if keys else [], rows)
        if (
            rows.dtype != ROW
            or rows.shape != (len(found.keys),)
            or np.any(rows["split"] >= len(found.splits))
        ):
            raise ValueError("its tables do not fit each other")
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{url}: not a fingerprint ({error}); write it again with blvnet-shard fingerprint"
        ) from None
    return found
