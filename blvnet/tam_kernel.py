"""The temporal aggregation as two Triton kernels, forward and backward, that move every byte once.

A program takes one tile of `ROWS` pixels by `COLUMNS` channels through a whole clip and keeps the frames that a blend
reaches in registers: each frame is read once, each output written once. In the loops over frames all is known to the
compiler, which unrolls them.

The clip that is blended has `FRAMES` frames. With `PAIRED`, memory holds one for each two of them. With two `STREAMS`,
the even and the odd outputs go to tensors of their own. Frames are (pixels, channels), the channels side by side;
sums are float32, whatever the frames are. Needs triton, which nothing imports before it is used.

To compile them takes some seconds for clips of 16 frames and half a minute for 64; so they are not compiled anew for
kinds of `pixels`, which decide nothing: channels that are multiples of 16 are loaded 16 bytes at a time all the same.
"""

# Triton's language is not all of Python: constants are in capitals, tuples grow by addition.
# ruff: noqa: N803, N806, RUF005

import triton
import triton.language as tl


@triton.jit
def _tile(pixels, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """This program's number of tile, places in a frame, which of them are inside, its channels, and its clip."""
    tiles_across = tl.cdiv(channels, COLUMNS)
    tiles = tl.cdiv(pixels, ROWS) * tiles_across
    number = tl.program_id(0)
    down, across = number % tiles // tiles_across, number % tiles_across
    rows = down * ROWS + tl.arange(0, ROWS)
    columns = across * COLUMNS + tl.arange(0, COLUMNS)
    places = rows[:, None] * channels + columns[None, :]
    inside = (rows < pixels)[:, None] & (columns < channels)[None, :]
    # A batch of long clips has more than 2^31 values.
    return down, places, inside, columns, (number // tiles).to(tl.int64)


@triton.jit(do_not_specialize=["pixels"])
def blend_forward(
    x,
    weight,
    even,
    odd,
    pixels,
    channels,
    FRAMES: tl.constexpr,
    TAPS: tl.constexpr,
    STREAMS: tl.constexpr,
    PAIRED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """`even` and `odd` (or `even` alone) from `x` and `weight`, (channels, TAPS)."""
    _, places, inside, columns, clip = _tile(pixels, channels, ROWS, COLUMNS)
    BEFORE: tl.constexpr = TAPS // 2
    AFTER: tl.constexpr = TAPS - 1 - TAPS // 2
    frame = pixels * channels
    x += clip * (FRAMES // 2 if PAIRED else FRAMES) * frame
    even += clip * (FRAMES // STREAMS) * frame
    odd += clip * (FRAMES // STREAMS) * frame
    taps = ()
    for k in tl.static_range(TAPS):
        tap = tl.load(weight + columns * TAPS + k, mask=columns < channels, other=0.0)
        taps = taps + (tap.to(tl.float32)[None, :],)
    nothing = tl.zeros((ROWS, COLUMNS), tl.float32)
    newest = nothing
    window = ()
    for _ in tl.static_range(BEFORE):
        window = window + (nothing,)
    for t in tl.static_range(FRAMES + AFTER):
        if t >= FRAMES:
            newest = nothing
        elif not PAIRED or t % 2 == 0:
            source = x + (t // 2 if PAIRED else t) * frame
            newest = tl.load(source + places, mask=inside, other=0.0).to(tl.float32)
        window = window + (newest,)
        if t >= AFTER:
            total = window[0] * taps[0]
            for k in tl.static_range(1, TAPS):
                total += window[k] * taps[k]
            window = window[1:]
            # Not a maximum, which would lose a NaN.
            total = tl.where(total < 0, 0.0, total)
            target = (even if (t - AFTER) % STREAMS == 0 else odd) + (t - AFTER) // STREAMS * frame
            tl.store(target + places, total.to(even.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["pixels"])
def blend_backward(
    x,
    weight,
    even,
    odd,
    even_gradient,
    odd_gradient,
    x_gradient,
    weight_sums,
    pixels,
    channels,
    FRAMES: tl.constexpr,
    TAPS: tl.constexpr,
    STREAMS: tl.constexpr,
    PAIRED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """`x_gradient`, and a part of the weight's from each program: `weight_sums`, (clips * tiles down, TAPS, channels).

    The outputs `even` and `odd` say where the ReLU let the gradient through.
    """
    down, places, inside, columns, clip = _tile(pixels, channels, ROWS, COLUMNS)
    BEFORE: tl.constexpr = TAPS // 2
    frame = pixels * channels
    x += clip * (FRAMES // 2 if PAIRED else FRAMES) * frame
    x_gradient += clip * (FRAMES // 2 if PAIRED else FRAMES) * frame
    even += clip * (FRAMES // STREAMS) * frame
    odd += clip * (FRAMES // STREAMS) * frame
    even_gradient += clip * (FRAMES // STREAMS) * frame
    odd_gradient += clip * (FRAMES // STREAMS) * frame
    nothing = tl.zeros((ROWS, COLUMNS), tl.float32)
    taps = ()
    sums = ()
    gradients = ()  # of the newest TAPS outputs
    for k in tl.static_range(TAPS):
        tap = tl.load(weight + columns * TAPS + k, mask=columns < channels, other=0.0)
        taps = taps + (tap.to(tl.float32)[None, :],)
        sums = sums + (nothing,)
        gradients = gradients + (nothing,)
    newest = nothing
    of_pair = nothing
    window = ()  # of the newest 1 + BEFORE frames
    for _ in tl.static_range(BEFORE + 1):
        window = window + (nothing,)
    for t in tl.static_range(FRAMES + BEFORE):
        gradient = nothing
        if t < FRAMES:
            if not PAIRED or t % 2 == 0:
                source = x + (t // 2 if PAIRED else t) * frame
                newest = tl.load(source + places, mask=inside, other=0.0).to(tl.float32)
            at = t // STREAMS * frame
            output = tl.load((even if t % STREAMS == 0 else odd) + at + places, mask=inside, other=0.0)
            output = output.to(tl.float32)  # of which a zero is one with either sign, in the interpreter too
            gradient = tl.load(
                (even_gradient if t % STREAMS == 0 else odd_gradient) + at + places, mask=inside, other=0.0
            ).to(tl.float32)
            gradient = tl.where(output <= 0, 0.0, gradient)
        window = window[1:] + (newest,)
        gradients = gradients[1:] + (gradient,)
        if t < FRAMES:
            # Every pair of a frame and an output that the frame is a part of, when the later one is there.
            added = ()
            for k in tl.static_range(TAPS):
                if k < BEFORE:
                    added = added + (sums[k] + gradient * window[k],)
                else:
                    added = added + (sums[k] + gradients[TAPS - 1 - (k - BEFORE)] * newest,)
            sums = added
        if t >= BEFORE:
            total = gradients[TAPS - 1] * taps[0]
            for k in tl.static_range(1, TAPS):
                total += gradients[TAPS - 1 - k] * taps[k]
            if PAIRED and (t - BEFORE) % 2 == 0:
                of_pair = total
            else:
                if PAIRED:
                    total += of_pair
                target = x_gradient + ((t - BEFORE) // 2 if PAIRED else t - BEFORE) * frame
                tl.store(target + places, total.to(x_gradient.dtype.element_ty), mask=inside)
    weight_sums += (clip * tl.cdiv(pixels, ROWS) + down) * TAPS * channels
    for k in tl.static_range(TAPS):
        tl.store(weight_sums + k * channels + columns, tl.sum(sums[k], 0), mask=columns < channels)
