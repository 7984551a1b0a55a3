"""The look of every Figure: colours that colour-blind readers tell apart, sizes for 2x screens."""

from typing import Final

Colour = tuple[int, int, int]

PAPER: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (34, 34, 34)
SOFT: Final[Colour] = (110, 110, 110)
FRAME: Final[Colour] = (190, 190, 190)
GRID: Final[Colour] = (232, 232, 232)

# Okabe and Ito (2008), "Color Universal Design".
BLUE: Final[Colour] = (0, 114, 178)
VERMILLION: Final[Colour] = (213, 94, 0)
GREEN: Final[Colour] = (0, 158, 115)
PURPLE: Final[Colour] = (204, 121, 167)

TITLE_PX: Final = 30
BODY_PX: Final = 24
SMALL_PX: Final = 20
MARGIN_PX: Final = 40
