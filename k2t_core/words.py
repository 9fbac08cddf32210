"""Numbers as a person writes them, and text as it may be printed."""

from __future__ import annotations


def size_text(count: float) -> str:
    """A number of bytes: 1536 → ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def power_text(value: float) -> str:
    """A tolerance: 0.0001 → ``1e-4``."""
    text = f"{value:.0e}" if float(f"{value:.0e}") == value else f"{value:.2e}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def printable(text: str) -> str:
    """Text from a file, for a terminal, without what is no letter of a line: a name may hold commands to the terminal,
    or letters that turn the direction of those around them.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
