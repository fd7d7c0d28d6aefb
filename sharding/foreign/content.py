"""What a sample of a tar holds: its pictures in the order of frames, or its film, and how large a frame is."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sharding.errors import UserError
from sharding.foreign import blobs, headers
from sharding.foreign.grouping import Group
from sharding.foreign.members import Member
from sharding.sources.fault import Unusable
from sharding.sources.pictures import by_numbers

PICTURES = ("jpg", "jpeg", "png", "webp")
STREAMS = ("mjpeg", "mjpg")
FILMS = (
    *("mp4", "webm", "avi", "mkv", "mov", "m4v", "mpg", "mpeg", "ts", "flv", "wmv", "ogv", "3gp", "gif"),
)

Read = Callable[[Member], bytes]
"""Gives a member's content."""


@dataclass(frozen=True)
class Content:
    """As in `IndexedRow`; `parts` are of bytes of the tar, not of a span."""

    kind: Literal["pictures", "film"]
    width: int
    height: int
    frames: int
    parts: list[tuple[int, int]]


def find(group: Group, wanted: str | None, read: Read, url: str) -> Content:
    """The content of a sample; `wanted` names the ending of its member, or of its members, as users give it.

    Raises `Unusable` for a sample that has none, or one that is damaged, and `UserError` where there are several to
    choose from.
    """
    chosen = _chosen(group, wanted, url)
    kinds = {_ending(name) for name in chosen}
    members = [group.members[name] for name in chosen]
    if kinds <= set(PICTURES):
        return _pictures(members, read)
    if kinds <= set(STREAMS):
        return _stream(members[0], read)
    return _film(members[0], read)


def _chosen(group: Group, wanted: str | None, url: str) -> list[str]:
    """The names, as the group has them, of the members that are used, in the order of frames."""
    names = sorted(group.members, key=by_numbers)
    if wanted is not None:
        found = [name for name in names if name == wanted.lower()]
        found = found or [name for name in names if name.endswith(f".{wanted.lower()}")]
        if not found:
            raise Unusable(f"no member .{wanted} among {_list(names)}")
    else:
        found = [name for name in names if _ending(name) in (*PICTURES, *STREAMS, *FILMS)]
        if not found:
            raise Unusable(f"neither pictures nor a film among {_list(names)}")
        plain = [name for name in found if "." not in name]
        found = plain or found
    many = len(found) > 1 and not _are_frames(found)
    unknown = [name for name in found if _ending(name) not in (*PICTURES, *STREAMS, *FILMS)]
    if unknown:
        raise UserError(
            f"{url}: sample {group.key}: --member {wanted}: .{unknown[0]} is no kind of picture or film"
        )
    if many:
        raise UserError(
            f"{url}: sample {group.key} has {_list(found)}; say with --member which of them is to be read"
        )
    return found


def _are_frames(names: list[str]) -> bool:
    """Whether they are pictures with numbers, one a frame: `000.jpg`, `001.jpg`, or `frame_1.png`, ..."""
    stems = [name.rpartition(".")[0] for name in names]
    numbered = all(any(letter.isdigit() for letter in stem) for stem in stems)
    return numbered and all(_ending(name) in PICTURES for name in names)


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(f".{name}" for name in names[:6]) + more


def _pictures(members: list[Member], read: Read) -> Content:
    sizes = []
    for member in members:
        try:
            sizes.append(headers.size(read(member)))
        except ValueError as error:
            raise Unusable(f"{member.name}: {error}") from None
    return _of_one_size(sizes, [(member.content, member.size) for member in members])


def _stream(member: Member, read: Read) -> Content:
    blob = read(member)
    try:
        parts = blobs.parts(blob)
        sizes = [headers.size(blob[start : start + size]) for start, size in parts]
    except ValueError as error:
        raise Unusable(f"{member.name}: {error}") from None
    return _of_one_size(sizes, [(member.content + start, size) for start, size in parts])


def _of_one_size(sizes: list[tuple[int, int]], parts: list[tuple[int, int]]) -> Content:
    other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        (w, h), (width, height) = sizes[other], sizes[0]
        raise Unusable(f"frame {other} is {w}x{h}, and frame 0 is {width}x{height}; a clip has one size")
    return Content("pictures", *sizes[0], len(parts), parts)


def _film(member: Member, read: Read) -> Content:
    from sharding.foreign import films  # FFmpeg's libraries, which pictures do without

    try:
        facts = films.look(io.BytesIO(read(member)))
    except Unusable as reason:
        raise Unusable(f"{member.name}: {reason}") from None
    return Content("film", facts.width, facts.height, facts.frames, [(member.content, member.size)])
