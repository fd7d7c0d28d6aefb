"""Sizes and times in words."""

import math

_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIMES = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def size(amount: float) -> str:
    """Bytes with three digits: `60.1 GB`."""
    return _scaled(amount, _SIZES, "bytes")


def duration(seconds: float) -> str:
    """Seconds with three digits: `2.40 h`."""
    return _scaled(seconds, _TIMES, "s")


def _scaled(value: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    if math.isnan(value):
        return "?"
    for unit, name in units:
        if value >= 0.9995 * unit:
            scaled = value / unit
            digits = max(0, 2 - math.floor(math.log10(scaled) + 1e-3))
            return f"{scaled:,.{digits}f} {name}"
    return f"{value:.0f} {smallest}"
