"""A frame as a few numbers that survive another decoder, another size and another JPEG quality.

A frame becomes the mean luma of 4 x 3 equal boxes, 0 to 255. JPEG at quality 60 and a resize move such means by less
than a level; another picture, another crop or a mirrored one moves them by tens.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import simplejpeg

COLUMNS, ROWS = 4, 3
_LEAST_SIDE = 24  # pixels of the decoded frame: less would blur small pictures
BYTES = 3 * COLUMNS * ROWS
"""Of a sample: of its first, middle and last frame."""

Array = npt.NDArray[np.uint8]


def of_sample(blob: memoryview, offsets: Sequence[int], size: tuple[int, int]) -> bytes:
    """The numbers of a sample's first, middle and last frame, `BYTES` of them.

    `offsets` are the starts of its JPEGs, `size` their width and height. Raises ValueError for a damaged JPEG.
    """
    ends = [*offsets[1:], len(blob)]
    last = len(offsets) - 1
    found = {i: of_frame(blob[offsets[i] : ends[i]], size) for i in {0, last // 2, last}}
    return b"".join(found[i].tobytes() for i in (0, last // 2, last))


def of_frame(jpeg: memoryview | bytes, size: tuple[int, int]) -> Array:
    """The mean luma of each box, uint8 (ROWS, COLUMNS), of a JPEG of `size` (width, height).

    It is decoded at some eighths of its size, where its last pixels may stand for less than a whole one.
    """
    least = {"min_width": min(_LEAST_SIDE, size[0]), "min_height": min(_LEAST_SIDE, size[1])}
    gray = simplejpeg.decode_jpeg(jpeg, "GRAY", **least)[..., 0]
    across, down = _true_size(size, (gray.shape[1], gray.shape[0]))
    rows, columns = _shares(gray.shape[0], down, ROWS), _shares(gray.shape[1], across, COLUMNS)
    means: Array = (rows @ gray.astype(np.float64) @ columns.T + 0.5).astype(np.uint8)
    return means


def _true_size(whole: tuple[int, int], small: tuple[int, int]) -> tuple[float, float]:
    """The size in small pixels of a frame of size `whole` that was decoded to `small`, which is rounded up."""
    for eighths in range(1, 9):
        if all(-(-side * eighths // 8) == found for side, found in zip(whole, small, strict=True)):
            return whole[0] * eighths / 8, whole[1] * eighths / 8
    raise ValueError(f"a frame of {small} pixels, expected {whole} (width, height)")


def _shares(pixels: int, length: float, parts: int) -> npt.NDArray[np.float64]:
    """(parts, pixels): how much of each pixel is in each of equal parts of `length` pixels; a row's sum is 1."""
    edges = np.linspace(0, min(length, pixels), parts + 1)
    starts = np.arange(pixels)
    inside = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    shares = np.clip(inside, 0, None)
    normed: npt.NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return normed
