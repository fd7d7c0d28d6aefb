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


class Region(NamedTuple):
    """Part of a frame, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class _TjRegion(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class Decoder:
    """Decodes regions of JPEGs; enter it for one thread's use. Only where `available()`."""

    def __enter__(self) -> "Decoder":
        library = _library()
        assert library is not None
        self._library = library
        self._handle = ctypes.c_void_p(library.tj3Init(_TJINIT_DECOMPRESS))
        library.tj3Set(self._handle, _TJPARAM_STOPONWARNING, 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._library.tj3Destroy(self._handle)

    def decode(
        self,
        jpeg: memoryview,
        region: Region,
        size: tuple[int, int],
        out: npt.NDArray[np.uint8],
        colours: str,
    ) -> None:
        """Fill contiguous `out` with `region` of a JPEG of `size`; `region.x` is a multiple of 16.

        `colours`: RGB, BGR or GRAY, as `out` has channels.

        Raises ValueError for a JPEG that is damaged, in what is decoded of it, or of another size.
        """
        address, length = np.frombuffer(jpeg, np.uint8).ctypes.data, len(jpeg)
        self._check(self._library.tj3DecompressHeader(self._handle, address, length))
        found = tuple(
            self._library.tj3Get(self._handle, side) for side in (_TJPARAM_JPEGWIDTH, _TJPARAM_JPEGHEIGHT)
        )
        if found != size:
            raise ValueError(f"a JPEG is {found}, expected {size} (width, height)")
        self._check(self._library.tj3SetCroppingRegion(self._handle, _TjRegion(*region)))
        order, pitch = _PIXELS[colours], out.shape[-1] * region.width
        self._check(
            self._library.tj3Decompress8(self._handle, address, length, out.ctypes.data, pitch, order)
        )

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
