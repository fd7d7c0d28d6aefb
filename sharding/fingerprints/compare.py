"""How two shard sets differ, told from their fingerprints. What their settings explain is said once, not by sample."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sharding.fingerprints.look import COLUMNS, ROWS
from sharding.fingerprints.table import Fingerprint, Split

# Levels of luma. Other decoders, sizes and qualities move a box by 1 or 2, and a whole frame by less than 1; other
# matrices of colours by 3. Another film, another crop or a mirrored one moves frames by 10 to 60.
_FRAME_LEVELS = 5.0
_BOX_LEVELS = 16
# Where the frames are chosen differently, other moments are compared.
_OTHER_MOMENT_LEVELS = 24.0

_RATE_SETTINGS = {"fps", "max_frames"}
_SIZE_SETTINGS = {"short_side", "enlarge"}
_SAME_RATE = 0.01
_CHOSEN_SHARE = 0.1  # of a duration: thinning a film of uneven times leaves other ends

KINDS = {
    "missing in A": "missing in A",
    "missing in B": "missing in B",
    "split": "in another split",
    "label": "labelled differently",
    "cut": "cut (fewer frames in one of them)",
    "extraction": "extracted differently (rate, size or crop)",
    "content": "changed in content",
}
"""What may differ, in the order in which it is told."""


@dataclass(frozen=True)
class Sample:
    """A sample of one of the sets."""

    split: Split
    key: str
    label: int
    frames: int
    width: int
    height: int
    fps: float
    look: Any

    @property
    def label_name(self) -> str:
        return self.split.names(self.label)

    @property
    def shown_rate(self) -> str:
        return f"{self.frames} frames" + (f" at {self.fps:.6g} a second" if self.fps else "")


@dataclass
class Comparison:
    """How sets A and B differ. `found` has the samples (split/key) and what is to be said of them, by kind."""

    counts: tuple[int, int]
    common: int = 0
    settings: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def differs(self) -> bool:
        """Whether anything but settings differs."""
        return any(self.found.values())

    def lines(self, most: int) -> list[str]:
        """For the user: settings once, the first `most` samples of each kind, and a summary."""
        lines = [f"A has {self.counts[0]:,} videos, B {self.counts[1]:,}; {self.common:,} are in both"]
        for said, splits in self.settings.items():
            lines.append(f"settings of {', '.join(splits)} differ (A / B): {said}")
        for kind, title in KINDS.items():
            rows = self.found[kind]
            if rows:
                lines.append(f"{len(rows):,} {title}:")
                lines += [f"  {name}: {what}" for name, what in rows[:most]]
                if len(rows) > most:
                    lines.append(f"  and {len(rows) - most:,} more")
        different = len({name for rows in self.found.values() for name, _ in rows})
        lines.append(f"{different:,} videos differ" if different else "the same videos, labels and content")
        return lines


def compare(a: Fingerprint, b: Fingerprint) -> Comparison:
    """What differs between two sets. Samples are the same where their keys are, in the same split if they can be."""
    in_a, in_b = _samples(a), _samples(b)
    result = Comparison((len(in_a), len(in_b)))
    splits = {split.name: split for split in b.splits}
    for split in a.splits:
        if split.name in splits and (said := _settings(split, splits[split.name])):
            result.settings.setdefault(said, []).append(split.name)
    pairs = [(in_a.pop(place), in_b.pop(place)) for place in list(in_a) if place in in_b]
    moved = {key: place for place in in_b for key in [place[1]]}
    for place in list(in_a):
        if place[1] in moved:
            other = moved.pop(place[1])
            pairs.append((in_a.pop(place), in_b.pop(other)))
            result.found["split"].append((_name(place), f"{place[0]} / {other[0]}"))
    result.common = len(pairs)
    for kind, left, other_set in (("missing in A", in_b, a), ("missing in B", in_a, b)):
        reasons = {(s.name, key): reason for s in other_set.splits for key, reason in s.failures.items()}
        for place in left:
            reason = f"unusable there: {reasons[place]}" if place in reasons else "not there"
            result.found[kind].append((_name(place), reason))
    for one, two in pairs:
        for kind, what in differences(one, two):
            result.found[kind].append((_name((one.split.name, one.key)), what))
    return result


def differences(a: Sample, b: Sample) -> Iterator[tuple[str, str]]:
    """The kinds in which two samples of one key differ, with what is to be said (A / B)."""
    if a.label_name != b.label_name:
        yield "label", f"{a.label_name!r} / {b.label_name!r}"
    changed = {name for name, _, _ in _changed(a.split, b.split)}
    timed = _time_difference(a, b, bool(changed & _RATE_SETTINGS))
    if timed:
        yield timed, f"{a.shown_rate} / {b.shown_rate}"
    shaped = _shape_differs(a, b, bool(changed & _SIZE_SETTINGS))
    if shaped:
        yield "extraction", f"{a.width}x{a.height} / {b.width}x{b.height}"
    if not timed and not shaped and (levels := _content_levels(a, b)):
        yield "content", f"frames differ by {levels:.0f} of 255 levels"


def _time_difference(a: Sample, b: Sample, chosen_differently: bool) -> str | None:
    same_rate = a.fps == b.fps or abs(a.fps - b.fps) <= _SAME_RATE * max(a.fps, b.fps)
    if a.frames == b.frames and same_rate:
        return None
    if not (a.fps and b.fps):
        return None if chosen_differently else "cut"
    if same_rate and not chosen_differently:
        return "cut"
    lengths = a.frames / a.fps, b.frames / b.fps
    allowed = 2 / min(a.fps, b.fps) + _CHOSEN_SHARE * max(lengths) * chosen_differently
    if abs(lengths[0] - lengths[1]) > allowed:
        return "cut"
    return None if chosen_differently else "extraction"


def _shape_differs(a: Sample, b: Sample, scaled_differently: bool) -> bool:
    """Whether one cannot be the other at another size; where the settings ask for one size, whether sizes differ."""
    if not scaled_differently and (a.width, a.height) != (b.width, b.height):
        return True
    rounding = 1 / a.width + 1 / a.height + 1 / b.width + 1 / b.height
    return abs(a.width * b.height / (b.width * a.height) - 1) > rounding


def _content_levels(a: Sample, b: Sample) -> float:
    """By how many levels the frame that differs most does, or 0 where all are alike."""
    apart = np.abs(a.look.astype(np.int16) - b.look.astype(np.int16)).reshape(3, ROWS * COLUMNS)
    frames = apart.mean(axis=1)
    if a.frames != b.frames:
        return float(frames.max()) if frames.max() > _OTHER_MOMENT_LEVELS else 0.0
    return float(frames.max()) if frames.max() > _FRAME_LEVELS or apart.max() > _BOX_LEVELS else 0.0


def _settings(a: Split, b: Split) -> str:
    said = [f"{name} {one} / {two}" for name, one, two in _changed(a, b)]
    if a.classes != b.classes:
        order = " in another order" if sorted(a.classes) == sorted(b.classes) else ""
        said.append(f"classes {len(a.classes)} / {len(b.classes)}{order}")
    return ", ".join(said)


def _changed(a: Split, b: Split) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys([*a.settings, *b.settings])
    both = [(name, a.settings.get(name), b.settings.get(name)) for name in names]
    return [(name, one, two) for name, one, two in both if one != two]


def _samples(fingerprint: Fingerprint) -> dict[tuple[str, str], Sample]:
    rows = fingerprint.rows
    samples = {}
    names = ("split", "label", "frames", "width", "height", "fps")
    columns = [rows[name].tolist() for name in names]
    for key, seen, split, label, frames, width, height, fps in zip(
        fingerprint.keys, rows["look"], *columns, strict=True
    ):
        about = fingerprint.splits[split]
        samples[about.name, key] = Sample(about, key, label, frames, width, height, fps, seen)
    return samples


def _name(place: tuple[str, str]) -> str:
    return f"{place[0]}/{place[1]}"
