"""What a machine and a store can do, in a file: `bench loader --save` writes it, `pipeline.plan` reads it."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field

from sharding import storage
from sharding.errors import UserError
from sharding.format import schema

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Rates:
    """Of one rank's loader. A clip is what a step trains on; seconds are of the processor: others' do not count.

    `store_mb_s` is what all loader processes together read, of 10^6 bytes a second, when they do nothing else.
    """

    __pydantic_config__ = schema.EXACT

    samples: _Count
    "Of the data set."
    sample_bytes: _Positive
    clips_a_sample: _Count
    clip_bytes: _Count
    "Of a finished clip, in shared memory."
    worker_s: _Positive
    "A clip, in its loader process: reading, checking, decoding, transforming."
    handover_s: _Positive
    "A clip, in the training process."
    store_mb_s: _Positive
    worker_bytes: _Count
    "Memory that a loader process has for itself."
    steps_ahead: _Count
    "Steps whose clips are in memory at a time."

    @property
    def read_bytes(self) -> float:
        """What is read for a clip."""
        return self.sample_bytes / self.clips_a_sample

    def save(self, url: str) -> None:
        """Write the file."""
        storage.write_bytes(url, (json.dumps(asdict(self), indent=1) + "\n").encode())


def load(url: str) -> Rates:
    """What `save` wrote. Raises `UserError` for anything else."""
    try:
        return schema.parse(Rates, storage.read_bytes(url))
    except ValueError as error:
        raise UserError(
            f"{url}: not the rates of a machine ({error}); python -m pipeline.bench loader --save writes them"
        ) from None
