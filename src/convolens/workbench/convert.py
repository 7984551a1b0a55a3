"""`convert`: a detection set written anew in another format."""

from pathlib import Path

from convolens.data.annotations import AnnotationFormat
from convolens.data.convert import Converted, convert_dataset


def convert(
    path: str | Path, *, to: AnnotationFormat, out: str | Path, link: bool = False
) -> Converted:
    """Writes a VOC, COCO or YOLO set in another of these formats, with its pictures and splits.

    The new folder appears whole or not at all, and nothing is overwritten. VOC holds whole pixels,
    and YOLO neither crowds nor difficult objects; what was changed or left out is noted.

    Args:
        path: a folder, an archive or a COCO file.
        out: a new folder.
        link: makes links to the pictures instead of copies.
    Raises:
        DataError: when the source is no such set, or `out` exists already.
        UnavailableError: when it cannot be written.
    """
    return convert_dataset(path, to=to, out=out, link=link)
