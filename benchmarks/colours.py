"""Colours: every pixel format and tag through the resizer and the JPEG encoder, beside the standards' equations.

    python -m benchmarks.colours [--out benchmarks/results/colours.md]

A picture of slow waves of all colours is made in floating point. The standards' own equations (ITU-R BT.601, BT.709,
BT.2020, SMPTE 240M, FCC) and numpy alone turn it into the bytes of each pixel format: no code of FFmpeg's, and none of
`sharding/`, takes part. A frame of these bytes, tagged, goes through `Resizer` and the encoder at quality 100, at its
own size and at half of it; Pillow reads the JPEG. What comes out is compared with the picture that was put in.
"""

import argparse
import io
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from sharding.format import mjpeg
from sharding.sources.resize import Resizer

Floats = npt.NDArray[np.float64]
Plane = npt.NDArray[np.uint16]

# The weights of red and blue in luma, as the standards print them, and FFmpeg's number of each.
STANDARDS = {
    "untagged": (0.299, 0.114, 2),
    "BT.601": (0.299, 0.114, 6),
    "BT.709": (0.2126, 0.0722, 1),
    "FCC": (0.30, 0.11, 4),
    "240M": (0.212, 0.087, 7),
    "BT.2020": (0.2627, 0.0593, 9),
    "RGB": (0.0, 0.0, 0),
}
RANGES = {"untagged": 0, "limited": 1, "full": 2}
WIDTH, HEIGHT = 256, 192
SUBSAMPLED = {"410": (4, 4), "411": (4, 1), "420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}

CASES = [
    *(
        ("yuv420p", standard, span)
        for standard in ("untagged", "BT.601", "BT.709", "FCC", "240M", "BT.2020")
        for span in ("limited", "full")
    ),
    ("yuv420p", "untagged", "untagged"),
    ("yuvj420p", "BT.601", "full"),
    ("yuvj422p", "BT.709", "full"),
    *(
        (pixels, "BT.709", "limited")
        for pixels in (
            *("yuv422p", "yuv444p", "yuv440p", "yuva420p", "nv12", "yuyv422", "uyvy422"),
            *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "p010le"),
        )
    ),
    ("yuv420p10le", "BT.2020", "limited"),
    ("yuv420p10le", "BT.709", "full"),
    ("yuv411p", "BT.601", "limited"),
    ("yuv410p", "BT.601", "limited"),
    *(("gray", "untagged", span) for span in ("limited", "full", "untagged")),
    ("gray10le", "untagged", "full"),
    *(
        (pixels, "RGB", "full")
        for pixels in ("rgb24", "bgr24", "rgba", "bgr0", "gbrp", "gbrp10le", "rgb565le")
    ),
]


def picture() -> Floats:
    """Slow waves of all colours, RGB from 20 to 235, (height, width, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(x / 40), np.cos(y / 35), np.sin((x + y) / 55)]
    return 127.5 + 107.5 * np.stack(waves, axis=-1)


def components(rgb: Floats, standard: str, full: bool, bits: int, across: int, down: int) -> list[Plane]:
    """Y, U and V of the picture, chroma averaged over `across` x `down` pixels."""
    red, blue, _ = STANDARDS[standard]
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (
        chroma.reshape(len(chroma) // down, down, -1, across).mean(axis=(1, 3))
        for chroma in ((b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red))
    )
    unit, most = 1 << (bits - 8), (1 << bits) - 1
    if full:
        planes = [most * y, most * u + 128 * unit, most * v + 128 * unit]
    else:
        planes = [(219 * y + 16) * unit, (224 * u + 128) * unit, (224 * v + 128) * unit]
    return [plane.round().clip(0, most).astype(np.uint16) for plane in planes]


def packed(rgb: Floats, pixels: str, standard: str, full: bool) -> list[Plane]:
    """What each plane of a frame of this pixel format holds, a row of numbers for each row of it."""
    if found := re.fullmatch(r"yuv[ja]?(\d{3})p(\d+)?(?:le)?", pixels):
        planes = components(rgb, standard, full, int(found[2] or 8), *SUBSAMPLED[found[1]])
        return [*planes, np.full((HEIGHT, WIDTH), 255, np.uint16)] if "yuva" in pixels else planes
    if pixels in ("nv12", "p010le"):
        y, u, v = components(rgb, standard, full, 8 if pixels == "nv12" else 10, 2, 2)
        both = np.stack([u, v], axis=-1).reshape(HEIGHT // 2, -1)
        return [y, both] if pixels == "nv12" else [plane << np.uint16(6) for plane in (y, both)]
    if pixels in ("yuyv422", "uyvy422"):
        y, u, v = components(rgb, standard, full, 8, 2, 1)
        first, second = y[:, ::2], y[:, 1::2]
        pairs = [first, u, second, v] if pixels == "yuyv422" else [u, first, v, second]
        return [np.stack(pairs, axis=-1).reshape(HEIGHT, -1)]
    if found := re.fullmatch(r"gray(\d+)?(?:le)?", pixels):
        return [components(rgb, "BT.601", full, int(found[1] or 8), 1, 1)[0]]
    whole = rgb.round().astype(np.uint16)
    if found := re.fullmatch(r"gbrp(\d+)?(?:le)?", pixels):
        most = (1 << int(found[1] or 8)) - 1
        exact = (rgb * most / 255).round().astype(np.uint16)
        return [exact[..., 1], exact[..., 2], exact[..., 0]]
    if pixels == "rgb565le":
        r, g, b = np.moveaxis((rgb / 255 * [31, 63, 31]).round().astype(np.uint16), -1, 0)
        return [r << 11 | g << 5 | b]
    order = {"r": whole[..., 0], "g": whole[..., 1], "b": whole[..., 2]}
    letters = pixels.removesuffix("24")
    opaque = np.full((HEIGHT, WIDTH), 255, np.uint16)
    return [np.stack([order.get(letter, opaque) for letter in letters], axis=-1).reshape(HEIGHT, -1)]


def frame_of(rgb: Floats, pixels: str, standard: str, span: str) -> av.VideoFrame:
    """A frame of this pixel format, tagged as told."""
    frame = av.VideoFrame(WIDTH, HEIGHT, pixels)
    frame.colorspace, frame.color_range = STANDARDS[standard][2], RANGES[span]
    # Untagged, FFmpeg and every player take gray for full range here, and the rest for limited.
    full = span == "full" or (span == "untagged" and pixels.startswith("gray"))
    kind = np.dtype("<u2" if re.search(r"1[02]le|565", pixels) else "u1")
    for target, content in zip(frame.planes, packed(rgb, pixels, standard, full), strict=True):
        rows = np.zeros((target.height, target.line_size // kind.itemsize), kind)
        rows[:, : content.shape[1]] = content
        target.update(rows.tobytes())
    return frame


def through(frame: av.VideoFrame, short_side: int | None) -> Floats:
    """The RGB that Pillow reads from the frame's JPEG."""
    jpeg = mjpeg.encode_planes(Resizer(short_side)(frame), 100)
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float64)


def gray_of(rgb: Floats) -> Floats:
    """What a picture without colour keeps of it."""
    return np.repeat((rgb @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)


def row(pixels: str, standard: str, span: str) -> tuple[str, float]:
    """A line of the table, and the mean error that is furthest from zero."""
    rgb = picture()
    frame = frame_of(rgb, pixels, standard, span)
    shown: Callable[[Floats], Floats] = gray_of if pixels.startswith("gray") else lambda whole: whole
    half = rgb.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    cells, worst = [], 0.0
    for short_side, expected in ((None, shown(rgb)), (HEIGHT // 2, shown(half))):
        off = through(frame, short_side) - expected
        means = off.mean(axis=(0, 1))
        worst = max(worst, float(np.abs(means).max()))
        cells += [", ".join(f"{mean:+.2f}" for mean in means), f"{np.abs(off).mean():.2f}"]
    return f"| {pixels} | {standard} | {span} | " + " | ".join(cells) + " |", worst


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Colours beside the standards' equations.")
    parser.add_argument("--out", help="Markdown file to write")
    args = parser.parse_args()
    rows = [row(*case) for case in CASES]
    lines = [
        "# Colours",
        "",
        f"{date.today()}, PyAV {av.__version__}, FFmpeg's libswscale "
        f"{'.'.join(map(str, av.library_versions['libswscale']))}; `python -m benchmarks.colours`.",
        "",
        f"A {WIDTH}x{HEIGHT} picture of slow waves of all colours, made into {len(CASES)} kinds of frames by the "
        "standards' equations in numpy, through `Resizer` and the JPEG encoder at quality 100, read by Pillow. Errors "
        "are in levels of 255, against the picture itself: of red, green and blue on average, and of all three in "
        "size. JPEG's own 4:2:0 and rounding are part of them.",
        "",
        "| pixel format | matrix | range | own size: mean R, G, B | mean size | half size: mean R, G, B | mean size |",
        "|---|---|---|---|---:|---|---:|",
        *(line for line, _ in rows),
        "",
        f"The mean furthest from zero: {max(worst for _, worst in rows):.2f}. Aim: within 1.",
    ]
    print("\n".join(lines))
    if args.out:
        Path(args.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
