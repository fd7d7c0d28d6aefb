"""How the C library keeps memory for frames."""

import contextlib
import ctypes
import functools

# glibc's names for mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20  # the most that glibc takes
_KEPT_BYTES = 128 << 20


@functools.cache
def keep_freed_blocks() -> None:
    """Let this process use freed memory again instead of giving it back to the system after each frame.

    A frame's buffers are larger than what glibc keeps by default: each is mapped anew and its pages are faulted in,
    one by one, for every frame, a tenth of a worker's time (benchmarks/sharding.py). Elsewhere this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
