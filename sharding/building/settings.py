"""What a build does to every video. Settings and annotations together decide every byte of a shard set."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from sharding.errors import UserError

MIN_FRAMES = 3  # a shorter video is left out: it shows no motion
MIN_STEPS = MIN_FRAMES - 1  # of optical flow, between as many frames


@dataclass(frozen=True)
class Settings:
    """Recorded in every sidecar and manifest. Raises `UserError` for a value out of its range."""

    short_side: int | None = 256
    "Pixels of the shorter side; None keeps each video's own size."
    enlarge: bool = True
    "Whether a video smaller than `short_side` is enlarged to it."
    quality: int = 90
    "JPEG quality, 1 to 100."
    fps: float | None = None
    "Frames a second to thin a faster video to; None keeps every frame."
    max_frames: int | None = None
    "At most so many frames a video, evenly spread over it; None keeps all."
    samples_per_shard: int = 128
    "Videos that go in one shard (some 110 MB of Something-Something)."
    seed: int = 0
    "Decides the order of the videos over the shards."
    follow_links: bool = False
    "Whether a symbolic link may lead out of the video folder."
    pixels: int = 2
    "The version of the code that makes pixels of videos; no option. Sets of two versions are not mixed."

    input: Literal["rgb", "flow", "image"] = "rgb"
    "Videos in colour, folders of optical flow, or single pictures. Videos' recipes do not record it, as before."
    store: Literal["jpeg", "film"] = "jpeg"
    "What a sample is: JPEGs of its frames, or the film as it came. Recipes of JPEGs do not record it, as before."
    jpeg_hash: bool = False
    "Of films: whether the build computes what shard of JPEGs each shard of them becomes."

    def __post_init__(self) -> None:
        least = {"short_side": 16, "quality": 1, "max_frames": MIN_FRAMES, "samples_per_shard": 1, "seed": 0}
        most = {"short_side": 4096, "quality": 100}
        for name, low in least.items():
            value, high = getattr(self, name), most.get(name)
            if value is not None and (value < low or (high is not None and value > high)):
                wanted = f"at least {low}" if high is None else f"{low} to {high}"
                raise UserError(f"--{name.replace('_', '-')} {value}: must be {wanted}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UserError(f"--fps {self.fps}: must be more than 0 and at most 1000")
        if self.input != "rgb":
            why = "steps of flow follow one another" if self.input == "flow" else "a picture has one frame"
            for option, given in (("--fps", self.fps), ("--max-frames", self.max_frames)):
                if given is not None:
                    raise UserError(f"{option} {given}: {why}; leave it out with --input {self.input}")
        self._check_store()

    def _check_store(self) -> None:
        if self.store == "jpeg":
            if self.jpeg_hash:
                raise UserError(
                    "--jpeg-hash: shards of JPEGs have it anyway; leave it out, or add --store film"
                )
            return
        if self.input != "rgb":
            raise UserError(
                f"--store film: with --input {self.input} there are pictures, not films; leave it out"
            )
        for option, given in (("--fps", self.fps), ("--max-frames", self.max_frames)):
            if given is not None:
                raise UserError(f"{option} {given}: a film keeps every frame; leave it out with --store film")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        if self.input == "rgb":
            del values["input"]
        if self.store == "jpeg":
            del values["store"]
        if not self.jpeg_hash:
            del values["jpeg_hash"]
        return values

    def of_jpegs(self) -> "Settings":
        """Of a build that makes JPEGs of the films that this one keeps."""
        return dataclasses.replace(self, store="jpeg", jpeg_hash=False)
