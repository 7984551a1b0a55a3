"""Numbers for people: 34,944; 105.4 M; 1.09 GiB; 96×55×55."""

from collections.abc import Sequence

LEGEND = "M, G, T = 10⁶, 10⁹, 10¹²; KiB, MiB, GiB = 2¹⁰, 2²⁰, 2³⁰ bytes"
NOTHING = "–"
WHOLE = "(network)"  # the name of a row that is the network itself


def grouped(number: int) -> str:
    """The whole number.

    Example:
        >>> grouped(105415200)
        '105,415,200'
    """
    return f"{number:,}"


def short(number: int) -> str:
    """The whole number below a million, four digits of it from there on.

    Example:
        >>> short(34944), short(105415200), short(1000000)
        ('34,944', '105.4 M', '1.000 M')
    """
    if abs(number) < 1e6:
        return grouped(number)
    scaled = float(number)
    for unit in ("", "k", "M", "G", "T", "P", "E"):
        if abs(scaled) < 999.95 and unit not in ("", "k"):
            break
        if unit != "E":
            scaled /= 1000
    digits = 3 if abs(scaled) < 9.9995 else 2 if abs(scaled) < 99.995 else 1
    return f"{scaled:.{digits}f} {unit}"


def bytes_text(number: int) -> str:
    """Three digits and a unit of 2¹⁰, 2²⁰, … bytes.

    Example:
        >>> bytes_text(512), bytes_text(1536), bytes_text(1170378588)
        ('512 B', '1.50 KiB', '1.09 GiB')
    """
    if abs(number) < 1024:
        return f"{number} B"
    scaled = number / 1024
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(scaled) < 1023.5 or unit == "PiB":
            break
        scaled /= 1024
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f} {unit}"


def volume(shape: Sequence[int]) -> str:
    """The sides of a volume; a vector is one number.

    Example:
        >>> volume((96, 55, 55)), volume((4096,)), volume(())
        ('96×55×55', '4,096', '–')
    """
    if len(shape) == 1:
        return grouped(shape[0])
    return "×".join(map(str, shape)) or NOTHING


def sides(lengths: Sequence[int]) -> str:
    """One number where all sides are the same.

    Example:
        >>> sides((3, 3)), sides((1, 7))
        ('3', '1×7')
    """
    return str(lengths[0]) if len(set(lengths)) == 1 else "×".join(map(str, lengths))
