"""What makes a video unusable: the reason that is recorded, which files are opened, how large a frame may be."""

import contextlib
import io
import stat
from collections.abc import Iterator
from pathlib import Path

from av.error import FFmpegError

from sharding.format import header
from sharding.sources import blame

LIMITS = {"max_pixels": str(header.MAX_PIXELS)}
"""FFmpeg's options for decoders: they refuse a larger frame before they reserve memory for it."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unusable(Exception):  # noqa: N818 - a fact about a video, to be recorded; not an error of the program
    """A video that cannot be used. The text is the recorded reason: the same on every machine, so without its path."""


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """What goes wrong with a video in the block, as `Unusable`; the machine's own faults as `OSError`."""
    try:
        yield
    except FFmpegError as error:
        if blame.is_machines(error):
            raise OSError(error.errno, error.strerror) from error
        raise Unusable(f"cannot be decoded: {error.strerror}") from None
    except OSError as error:
        if blame.is_machines(error):
            raise
        raise Unusable(f"cannot be read: {error.strerror}") from None


def regular_size(path: Path | io.BytesIO) -> int:
    """The bytes of a file that can be read to its end. A pipe would wait, a device never ends: those are `Unusable`."""
    if isinstance(path, io.BytesIO):
        return len(path.getvalue())
    try:
        status = path.stat()
    except FileNotFoundError:
        raise Unusable("no such file") from None
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Unusable(f"{_KINDS.get(kind, 'something else')}, not a file")
    return status.st_size


def check_inside(path: Path, folder: Path) -> None:
    """Raise `Unusable` if symbolic links lead `path` out of `folder`, whose own links must be resolved."""
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError):
        raise Unusable("cannot be read: its symbolic links lead nowhere") from None
    if not resolved.is_relative_to(folder):
        raise Unusable("a symbolic link out of the video folder (--follow-links allows it)")
