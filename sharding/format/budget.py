"""How many videos may be unusable before a build, or an index, counts as failed."""

import re
from dataclasses import dataclass

from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import FAILURES_NAME, Manifest


@dataclass(frozen=True)
class Budget:
    """A number of videos, or a share of all (0 to 1). `text` is how the user wrote it."""

    text: str
    limit: float
    is_share: bool

    def is_exceeded(self, failures: int, videos: int) -> bool:
        """Whether so many failures are too many for so many videos."""
        return failures > (self.limit * videos if self.is_share else self.limit)

    def check(self, manifests: list[Manifest]) -> None:
        """Raise `UserError` when too many videos of these splits, taken together, could not be used."""
        failures = sum(len(made.failures) for made in manifests)
        videos = sum(made.samples for made in manifests) + failures
        if self.is_exceeded(failures, videos):
            files = [storage.join(made.root, FAILURES_NAME) for made in manifests if made.failures]
            indexed = all(made.indexed for made in manifests)
            things, done = ("samples", "indexed") if indexed else ("videos", "built")
            again = (
                "index again when they are mended"
                if indexed
                else "the same build with --repair tries them again"
            )
            raise UserError(
                f"{failures} of {videos} {things} could not be used (all others are {done}), --max-failures is "
                f"{self.text}; the reasons: {', '.join(files)}; {again}"
            )


def parse(text: str) -> Budget:
    """`20` (videos), `0.1%` or `0.001` (of all videos). Raises `UserError` for anything else."""
    match = re.fullmatch(r"(\d+|\d*\.\d+)(%?)", text)
    value = float(match.group(1)) / (100 if match.group(2) else 1) if match else -1.0
    is_share = match is not None and (match.group(2) == "%" or "." in match.group(1))
    if value < 0 or (is_share and value > 1):
        raise UserError(f"--max-failures {text}: must be a number of videos (20) or a share of them (0.1%)")
    return Budget(text, value, is_share)
