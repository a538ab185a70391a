"""What figures share: colours, and text that can be drawn."""

from __future__ import annotations

from tabweave.errors import shorten

# Okabe and Ito (2008): colours that stay apart for colour-blind readers.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#F0E442"),
)
QUIET = "#999999"
LONGEST_LABEL = 24


def legible(label: str, limit: int = LONGEST_LABEL) -> str:
    """A label that can be drawn: cut, no formula, no character the font lacks."""
    return drawable(shorten(label, limit))


def drawable(text: str) -> str:
    """A text without formulas and without characters the font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    drawn = "".join(
        c if font.get_char_index(ord(c)) else f"U+{ord(c):04X} " for c in text
    )
    return drawn.replace("$", r"\$")
