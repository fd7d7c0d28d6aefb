"""Pictures in motion for the demo videos: shapes on a textured ground, seen by a slightly unsteady camera.

Every motion here becomes another class when it runs backwards. So the two classes of a pair have the same
frames, and only their order tells one from the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]
Random = np.random.Generator

ZOOM_RANGE = (1.9, 2.6)  # how much nearer the camera comes when it approaches something
MARGIN = 0.85  # of the picture's size: what the ground extends beyond each side

COLOURS = {
    "red": (205, 45, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 215, 60),
    "green": (50, 150, 65),
    "blue": (40, 85, 190),
    "purple": (125, 60, 160),
    "pink": (240, 130, 175),
    "white": (240, 240, 235),
    "black": (25, 25, 30),
    "brown": (120, 75, 40),
}
GROUNDS = ((196, 178, 150), (128, 112, 96), (150, 160, 168), (98, 122, 108), (176, 150, 160), (90, 96, 120))


def _ball(u: Floats, v: Floats) -> Floats:
    return np.hypot(u, v)


def _box(u: Floats, v: Floats) -> Floats:
    return _floats(np.maximum(np.abs(u), np.abs(v)) * 1.15)


def _diamond(u: Floats, v: Floats) -> Floats:
    return _floats(np.abs(u) * 1.1 + np.abs(v) * 0.95)


def _bottle(u: Floats, v: Floats) -> Floats:
    body = np.maximum(np.abs(u) * 1.7, np.abs(v - 0.25) * 1.3)
    neck = np.maximum(np.abs(u) * 4.2, np.abs(v + 0.55) * 2.2)
    return _floats(np.minimum(body, neck))


def _star(u: Floats, v: Floats) -> Floats:
    return _floats(np.hypot(u, v) * (1.3 + 0.35 * np.cos(5 * np.arctan2(v, u))))


# Where the value is below 1 is inside. u and v are in units of the radius, v downwards.
SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "ball": _ball,
    "box": _box,
    "kite": _diamond,
    "bottle": _bottle,
    "star": _star,
}
# Where the value is above 0 is the second colour.
PATTERNS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "plain": lambda u, v: np.full_like(u, -1),
    "striped": lambda u, v: np.sin(v * 9),
    "chequered": lambda u, v: np.sin(u * 6) * np.sin(v * 6),
    "dotted": lambda u, v: _floats(np.cos(u * 9) * np.cos(v * 9) - 0.45),
}


@dataclass(frozen=True)
class Thing:
    """An object to look at; `radius` in pixels of an unzoomed picture."""

    shape: str
    pattern: str
    colour: str
    second: str
    radius: float
    tilt: float

    @property
    def name(self) -> str:
        """As an annotator would call it: "red ball", "striped blue box"."""
        words = (
            [self.colour, self.shape] if self.pattern == "plain" else [self.pattern, self.colour, self.shape]
        )
        return " ".join(words)


@dataclass(frozen=True)
class Course:
    """Where the camera looks and where the things are, a number for each frame; pixels of an unzoomed picture.

    The origin is the middle of the ground, x to the right, y down.
    """

    camera: Floats  # (frames, 2) the point in the middle of the picture
    zoom: Floats  # (frames,) 1 or less: the picture shows more of the ground
    things: list[Floats]  # (frames, 2) each


@dataclass(frozen=True)
class Scene:
    """What is seen and how it moves."""

    course: Course
    things: list[Thing]


def scene(motion: str, random: Random, width: int, height: int, frames: int) -> Scene:
    """A scene with this motion (a key of `MOTIONS`)."""
    course = MOTIONS[motion](random, width, height, _progress(random, frames))
    return Scene(course, _things(random, len(course.things), height))


def filmed(what: Scene, random: Random, width: int, height: int) -> Picture:
    """The frames of a scene, uint8 (frames, height, width, 3) RGB."""
    course, frames = what.course, len(what.course.zoom)
    ground = _ground(random, width, height)
    camera = course.camera + _shake(random, frames)
    pictures = np.empty((frames, height, width, 3), np.uint8)
    for i, picture in enumerate(pictures):
        _look(ground, camera[i], float(course.zoom[i]), picture)
        for thing, path in zip(what.things, course.things, strict=True):
            middle = (path[i] - camera[i]) * course.zoom[i] + _floats((width / 2, height / 2))
            _draw(thing, float(middle[0]), float(middle[1]), float(course.zoom[i]), picture)
    return pictures


# Motions


def _across(random: Random, width: int, height: int, progress: Floats) -> Course:
    """One thing from the left to the right."""
    way = random.uniform(0.75, 1.1) * height
    x = random.uniform(-0.08, 0.08) * width + way * (progress - 0.5)
    bend = random.uniform(-0.1, 0.1) * height * np.sin(np.pi * progress)
    y = random.uniform(-0.15, 0.25) * height + bend
    return _still(len(progress), [np.stack([x, y], 1)])


def _rising(random: Random, width: int, height: int, progress: Floats) -> Course:
    """One thing from the bottom to the top."""
    way = random.uniform(0.55, 0.85) * height
    y = random.uniform(-0.08, 0.08) * height + way * (0.5 - progress)
    bend = random.uniform(-0.08, 0.08) * width * np.sin(np.pi * progress)
    x = random.uniform(-0.18, 0.18) * width + bend
    return _still(len(progress), [np.stack([x, y], 1)])


def _approaching(random: Random, width: int, height: int, progress: Floats) -> Course:
    """The camera comes nearer to a thing that lies on the ground."""
    place = random.uniform(-0.12, 0.12, 2) * (width, height)
    zoom = random.uniform(*ZOOM_RANGE) ** (progress - 1)
    camera = place[None] * random.uniform(0, 1) * progress[:, None]
    return Course(_floats(camera), _floats(zoom), [_floats(np.repeat(place[None], len(progress), 0))])


def _meeting(random: Random, width: int, height: int, progress: Floats) -> Course:
    """Two things come closer to each other, until they nearly touch."""
    angle = random.uniform(-0.35, 0.35)
    axis = np.array([np.cos(angle), np.sin(angle)])
    gap = random.uniform(0.32, 0.38) * height
    apart = gap + random.uniform(0.5, 0.75) * height * (1 - progress)
    middle = random.uniform(-0.08, 0.08, 2) * (width, height)
    share = random.uniform(0.35, 0.65)
    first = middle - axis * (apart * share)[:, None]
    return _still(len(progress), [first, middle + axis * (apart * (1 - share))[:, None]])


def _turning_left(random: Random, width: int, height: int, progress: Floats) -> Course:
    """The camera turns to the left: all that it sees moves to the right."""
    way = random.uniform(0.75, 1.1) * height
    return _turning(random, width, height, np.stack([way * (0.5 - progress), np.zeros_like(progress)], 1))


def _turning_up(random: Random, width: int, height: int, progress: Floats) -> Course:
    """The camera turns upwards: all that it sees moves down."""
    way = random.uniform(0.5, 0.8) * height
    return _turning(random, width, height, np.stack([np.zeros_like(progress), way * (0.5 - progress)], 1))


def _turning(random: Random, width: int, height: int, camera: Floats) -> Course:
    place = random.uniform(-0.15, 0.15, 2) * (width, height)
    still = np.repeat(place[None], len(camera), 0)
    return Course(_floats(camera), np.ones(len(camera), np.float32), [_floats(still)])


def _still(frames: int, things: list[Any]) -> Course:
    """The camera does not move."""
    return Course(
        np.zeros((frames, 2), np.float32), np.ones(frames, np.float32), [_floats(x) for x in things]
    )


def _floats(values: Any) -> Floats:
    return np.asarray(values, np.float32)


MOTIONS: dict[str, Callable[[Random, int, int, Floats], Course]] = {
    "across": _across,
    "rising": _rising,
    "approaching": _approaching,
    "meeting": _meeting,
    "turning left": _turning_left,
    "turning up": _turning_up,
}


def _progress(random: Random, frames: int) -> Floats:
    """From 0 to 1 over the whole video, never standing still, faster at some times than at others."""
    time = np.linspace(0, 1, frames)
    sway = random.uniform(-0.6, 0.6) / (2 * np.pi) * np.sin(2 * np.pi * time)
    return _floats(time + sway)


def _shake(random: Random, frames: int) -> Floats:
    """The unsteadiness of a hand: (frames, 2) pixels, smooth in time."""
    steps = random.normal(0, 1, (frames + 8, 2))
    smooth = np.stack([np.convolve(steps[:, k], np.hanning(9) / 4, "valid") for k in range(2)], 1)
    return _floats(smooth * random.uniform(0.5, 2.5))


# Drawing


def _things(random: Random, count: int, height: int) -> list[Thing]:
    colours = [str(name) for name in random.permutation(list(COLOURS))]
    shapes = [str(name) for name in random.permutation(list(SHAPES))]
    return [
        Thing(
            shape=shapes[i],
            pattern=str(random.choice(list(PATTERNS))),
            colour=colours[2 * i],
            second=colours[2 * i + 1],
            radius=random.uniform(0.15, 0.2) * height,
            tilt=random.uniform(-0.5, 0.5),
        )
        for i in range(count)
    ]


def _ground(random: Random, width: int, height: int) -> Picture:
    """A wall and a table with their grain, stains and small marks: larger than the picture on every side."""
    w, h = int(width * (1 + 2 * MARGIN)), int(height * (1 + 2 * MARGIN))
    wall, table = (_floats(GROUNDS[k]) for k in random.permutation(len(GROUNDS))[:2])
    edge = int(h * random.uniform(0.3, 0.6))
    ground = np.empty((h, w, 3), np.float32)
    ground[:edge], ground[edge:] = wall, table
    for cells, strength in ((6, 18), (24, 9), (96, 6)):
        ground += _noise(random, h, w, cells, strength)[:, :, None]
    for _ in range(40):
        y, x = random.integers(0, h - 24), random.integers(0, w - 24)
        dy, dx = random.integers(4, 24, 2)
        ground[y : y + dy, x : x + dx] += _floats(random.uniform(-35, 35, 3))
    return np.clip(ground, 0, 255).astype(np.uint8)


def _noise(random: Random, height: int, width: int, cells: int, strength: float) -> Floats:
    """Smooth noise with so many bumps across."""
    grid = random.normal(0, strength, (cells * height // width + 2, cells + 2)).astype(np.float32)
    y = np.linspace(0, grid.shape[0] - 1.001, height, dtype=np.float32)
    x = np.linspace(0, grid.shape[1] - 1.001, width, dtype=np.float32)
    top, left = y.astype(np.intp), x.astype(np.intp)
    rows = grid[top] + (grid[top + 1] - grid[top]) * (y - top)[:, None].astype(np.float32)
    return _floats(rows[:, left] + (rows[:, left + 1] - rows[:, left]) * (x - left).astype(np.float32))


def _look(ground: Picture, camera: Floats, zoom: float, picture: Picture) -> None:
    """Fill `picture` with the part of the ground that the camera sees."""
    height, width = picture.shape[:2]
    middle = _floats((ground.shape[1] / 2, ground.shape[0] / 2)) + camera
    x = middle[0] + (np.arange(width, dtype=np.float32) - width / 2) / zoom
    y = middle[1] + (np.arange(height, dtype=np.float32) - height / 2) / zoom
    columns = np.clip(x.astype(np.intp), 0, ground.shape[1] - 1)
    rows = np.clip(y.astype(np.intp), 0, ground.shape[0] - 1)
    np.take(ground[rows], columns, axis=1, out=picture)


def _draw(thing: Thing, x: float, y: float, zoom: float, picture: Picture) -> None:
    """Paint `thing` with its middle at (x, y), soft at its edge."""
    height, width = picture.shape[:2]
    radius = thing.radius * zoom
    reach = radius * 1.3 + 2
    left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
    top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 1)
    if left >= right or top >= bottom:
        return
    across = (np.arange(left, right, dtype=np.float32) - np.float32(x)) / np.float32(radius)
    down = (np.arange(top, bottom, dtype=np.float32) - np.float32(y)) / np.float32(radius)
    cos, sin = np.float32(np.cos(thing.tilt)), np.float32(np.sin(thing.tilt))
    u = across[None, :] * cos + down[:, None] * sin
    v = down[:, None] * cos - across[None, :] * sin
    cover = np.clip((1 - SHAPES[thing.shape](u, v)) * np.float32(radius) + np.float32(0.5), 0, 1)
    second = PATTERNS[thing.pattern](u, v)[:, :, None] > 0
    paint = np.where(second, _floats(COLOURS[thing.second]), _floats(COLOURS[thing.colour]))
    paint = paint * (np.float32(1) - np.float32(0.22) * (u + v))[:, :, None].clip(
        0.6, 1.3
    )  # light from top left
    under = picture[top:bottom, left:right]
    mixed = under + (paint - under) * cover[:, :, None]
    picture[top:bottom, left:right] = np.clip(mixed, 0, 255).astype(np.uint8)
