"""`check`: what is in a folder of annotated pictures, and everything that is wrong with it."""

from pathlib import Path

from convolens.data.check import Checked, check_dataset_folder
from convolens.train.events import Decoded, Notify, ignore


def check(path: str | Path, *, notify: Notify = ignore) -> Checked:
    """Reads a folder, an archive or a COCO file completely and names everything that is wrong.

    Bad boxes, unknown classes, missing and damaged pictures are named one by one, with their
    files, lines and objects; what is in order is counted by split and class.

    Args:
        path: a VOC or YOLO folder, a COCO file or folder, a folder of masks or of classes.
        notify: is told how many pictures are decoded.
    Raises:
        DataError: when there is nothing at the path that could be checked.
    """
    return check_dataset_folder(
        path, report=lambda done, total: notify(Decoded(done=done, total=total))
    )
