"""What a node tells of itself before a training, as one line of text. No torch."""

import json
from dataclasses import asdict, dataclass, field

NODE = "BLVNET_NODE"
"""Tells a node by which name it is called (`blvnet-launch preflight --hosts`); the others reach it by that."""
_MARK = "preflight-report "


@dataclass(frozen=True)
class Report:
    """Of one node. Sizes in bytes, rates as named; None where it could not be measured, and `problems` say why.

    `address`: the name by which the other nodes reach it. `clock`: seconds since 1970 when it was sent.
    """

    node: str
    address: str
    clock: float
    processes: int
    "That train on it."
    versions: dict[str, str]
    devices: list[str]
    cores: int
    shared_free: int
    shared_needed: int
    cache_free: int | None
    cache_needed: int
    frames_per_s: float
    "JPEGs of 340x256 that one core decodes."
    store_mb_per_s: float | None
    needed_mb_per_s: float | None
    "What its loader processes can take in, if they do nothing but decode."
    problems: dict[str, str] = field(default_factory=dict)
    "By check: what a training would end with on this node."


def to_line(report: Report) -> str:
    """The line that `of_line` reads."""
    return _MARK + json.dumps(asdict(report))


def of_line(line: str) -> Report | None:
    """The report in a line of a node's output, before which srun may have put a label; None in any other line."""
    _, mark, text = line.partition(_MARK)
    return Report(**json.loads(text)) if mark else None
