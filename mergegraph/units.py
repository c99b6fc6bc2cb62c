"""Bytes, counts and durations, read from people and written for them. Knows nothing of models."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1,
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    **{prefix: 1024**power for power, prefix in enumerate("KMGT", 1)},
}
_BITS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kMGT])(?:bit(?:/s)?|bps)\s*", re.ASCII | re.IGNORECASE)
_MOST_BYTES = 1 << 60
_FACTORS_BY_LOWER = {unit.lower(): factor for unit, factor in _FACTORS.items()}


def parse_bytes(text: str | int) -> int:
    """`"2GiB"` → 2147483648, `"5GB"` → 5000000000, `"512M"` → 512 MiB. ValueError says what is accepted."""
    if isinstance(text, int) and not isinstance(text, bool):
        number, unit = float(min(text, 2 * _MOST_BYTES)), ""
    else:
        matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
        if not matched or matched[2].lower() not in _FACTORS_BY_LOWER:
            raise ValueError(f'"{text}" is not a size in bytes; write 512MiB, 2GiB, 5GB or a plain number')
        number, unit = float(matched[1]), matched[2].lower()
    if number <= 0:
        raise ValueError(f'"{text}" is not above zero')
    if number * _FACTORS_BY_LOWER[unit] > _MOST_BYTES:
        raise ValueError(f'"{str(text)[:20]}…" is more than any machine has')
    return int(number * _FACTORS_BY_LOWER[unit])


def parse_bandwidth(text: str) -> float:
    """`"2GB/s"` or `"2GB"` → 2e9 bytes a second; `"10Gbit/s"`, `"10Gbit"` or `"10Gbps"` → 1.25e9. ValueError says what
    is accepted."""
    bits = _BITS.fullmatch(text)
    size = f"{float(bits[1]) / 8:f}{bits[2]}B" if bits else text.strip().removesuffix("/s")
    try:
        return float(parse_bytes(size))
    except ValueError as error:
        raise ValueError(f'"{text[:20]}" is not a bandwidth; write 500MB/s, 2GB/s or 10Gbit/s') from error


def format_bytes(count: float) -> str:
    """1536 → `1.5 KiB`; whole bytes stay whole."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_count(count: int, noun: str) -> str:
    """`1 tensor`, `1,234 tensors`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_seconds(seconds: float) -> str:
    """0.42 → `0.4 s`, 75 → `1:15`, 3700 → `1:01:40`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
