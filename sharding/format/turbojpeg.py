"""libturbojpeg 3, where there is one: it decodes a region of a JPEG alone, columns too.

No JPEG package for Python offers that. It is the system's library, or comes in a wheel (the extra `turbo`). The pixels
are those of `simplejpeg`, which is made from the same sources; where there is none, `mjpeg` goes without.
"""

import ctypes
import functools
import importlib.metadata
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Names and numbers of turbojpeg.h.
_TJINIT_DECOMPRESS = 1
_TJPARAM_STOPONWARNING, _TJPARAM_JPEGWIDTH, _TJPARAM_JPEGHEIGHT = 0, 5, 6
_PIXELS = {"RGB": 0, "BGR": 1, "GRAY": 6}
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}


class Region(NamedTuple):
    """Part of a frame, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class _TjRegion(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class Decoder:
    """Decodes `region` of JPEGs of `size` (width, height); enter it for one thread's use. Only where `available()`.

    `region.x` is a multiple of 16. `colours`: RGB, BGR or GRAY.
    """

    def __init__(self, region: Region, size: tuple[int, int], colours: str) -> None:
        library = _library()
        assert library is not None
        # What does not change from frame to frame is made here: sixteen calls a clip are a hot path.
        self._library, self._region, self._size = library, _TjRegion(*region), size
        self._pixels, self._pitch = _PIXELS[colours], _CHANNELS[colours] * region.width

    def __enter__(self) -> "Decoder":
        self._handle = ctypes.c_void_p(self._library.tj3Init(_TJINIT_DECOMPRESS))
        self._library.tj3Set(self._handle, _TJPARAM_STOPONWARNING, 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._library.tj3Destroy(self._handle)

    def decode(self, jpeg: memoryview, out: npt.NDArray[np.uint8]) -> None:
        """Fill contiguous `out`, (height, width, channels), with the region of a JPEG.

        Raises ValueError for a JPEG that is damaged, in what is decoded of it, or of another size.
        """
        library, handle = self._library, self._handle
        start, length = np.frombuffer(jpeg, np.uint8).ctypes.data, len(jpeg)
        self._check(library.tj3DecompressHeader(handle, start, length))
        found = library.tj3Get(handle, _TJPARAM_JPEGWIDTH), library.tj3Get(handle, _TJPARAM_JPEGHEIGHT)
        if found != self._size:
            raise ValueError(f"a JPEG is {found}, expected {self._size} (width, height)")
        self._check(library.tj3SetCroppingRegion(handle, self._region))
        self._check(library.tj3Decompress8(handle, start, length, out.ctypes.data, self._pitch, self._pixels))

    def _check(self, status: int) -> None:
        if status:
            raise ValueError(f"damaged JPEG: {self._library.tj3GetErrorStr(self._handle).decode()}")


def available() -> bool:
    """Whether there is a library."""
    return _library() is not None


@functools.cache
def _library() -> ctypes.CDLL | None:
    for path in _paths():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        if hasattr(library, "tj3SetCroppingRegion"):  # not in version 2
            return _declared(library)
    return None


def _paths() -> Iterator[str]:
    yield "libturbojpeg.so.0"
    yield "libturbojpeg.dylib"
    try:
        files = importlib.metadata.files("turbojpeg") or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (str(file.locate()) for file in files if file.name.startswith("libturbojpeg"))


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    handle, data = ctypes.c_void_p, ctypes.c_void_p
    library.tj3Init.restype = handle
    library.tj3GetErrorStr.restype = ctypes.c_char_p
    library.tj3GetErrorStr.argtypes = library.tj3Destroy.argtypes = [handle]
    library.tj3Set.argtypes = [handle, ctypes.c_int, ctypes.c_int]
    library.tj3Get.argtypes = [handle, ctypes.c_int]
    library.tj3DecompressHeader.argtypes = [handle, data, ctypes.c_size_t]
    library.tj3SetCroppingRegion.argtypes = [handle, _TjRegion]
    library.tj3Decompress8.argtypes = [handle, data, ctypes.c_size_t, data, ctypes.c_int, ctypes.c_int]
    return library
