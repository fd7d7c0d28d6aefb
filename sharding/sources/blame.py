"""Whose fault an error is that came up while a video was read: the video's, which is recorded, or the machine's.

What is recorded is in the shards' bytes, and those must not depend on the machine: its faults end a build.
"""

import errno
import mmap
import re

from av.error import FFmpegError

_MACHINES = {errno.EMFILE, errno.ENFILE}
# Of the system's own calls. FFmpeg gives the same numbers other meanings: a demuxer says EIO of a damaged file.
_MACHINES_OF_CALLS = _MACHINES | {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.ESTALE,
    errno.ETIMEDOUT,
}
# FFmpeg reserves no more at once, whatever a video claims.
_MOST_BYTES = (1 << 31) - 1
_LONGEST = 200


def is_machines(error: BaseException) -> bool:
    """Whether the machine is short of memory, descriptors or room, or its disk fails."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return _memory_is_short()
    if isinstance(error, FFmpegError):
        return error.errno in _MACHINES
    return isinstance(error, OSError) and error.errno in _MACHINES_OF_CALLS


def reason(error: Exception, folder: str | None) -> str:
    """What to record of an error that nobody thought of: its kind and text, the same on every machine.

    `folder`, that of the videos if they are in one, is left out.
    """
    text = " ".join(str(error).split())
    if folder is not None:
        text = text.replace(f"{folder}/", "")
    text = re.sub(r"0x[0-9a-f]{6,}", "0x...", text).encode(errors="backslashreplace").decode()
    told = (
        f"cannot be used: {type(error).__name__}: {text}"
        if text
        else f"cannot be used: {type(error).__name__}"
    )
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."


def _memory_is_short() -> bool:
    """Whether this process cannot have as much as any one video may ask for: if it can, a video asked for more."""
    try:
        mmap.mmap(-1, _MOST_BYTES).close()
    except (OSError, ValueError):
        return True
    return False
