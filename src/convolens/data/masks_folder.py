"""A folder of pictures, each with a mask beside it that gives the class of every pixel."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import torch
from torch import Tensor

from convolens.data.annotations import PARTS, Annotated, Annotations, Findings, first_of, opened
from convolens.data.base import Dataset, Split
from convolens.data.folder import GREY_MODES, Chosen, Reading, make_splits
from convolens.data.layout import Part, complete
from convolens.data.mask_classes import MaskClasses, find_classes
from convolens.data.picture import PictureFormat, decode_mask
from convolens.data.placement import VOID, placement_of
from convolens.data.source import Source
from convolens.data.tree import PICTURE_ENDINGS, Tree
from convolens.data.voc import listed_parts, parts_by_folder
from convolens.errors import DataError

SEGMENTATION_SIDE_PX = 240
# fmt: off
_PICTURE_FOLDERS = frozenset({
    "images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "rgb", "inputs",
})
_MASK_FOLDERS = frozenset({
    "masks", "mask", "labels", "label", "annotations", "annotation", "anns", "ann", "gts", "gt",
    "groundtruth", "ground_truth", "segmentationclass", "segmentations", "segmentation", "trimaps",
})
# fmt: on
_MASK_STEM = re.compile(r"[-_](masks?|labels?|L|gt|seg)$")
_BESIDE = "annot"  # train and trainannot
_SAME_PROPORTIONS = 1.02


@dataclass(frozen=True, kw_only=True)
class _Pair:
    picture: Annotated
    mask: str


def load_masks(
    tree: Tree, name: str, reading: Reading, classes: MaskClasses | None = None
) -> Dataset:
    """Reads pictures and masks of the same stems: images/… and masks/… (labels/…, annotations/…).

    Also train/… with trainannot/…, and JPEGImages with SegmentationClass. Splits are the folders
    train, val and test, the lists of ImageSets/Segmentation, or a fixed fifth for the test. A
    mask is a PNG whose grey or palette numbers are classes, or of colours that `classes.json` or
    `label_colors.txt` names. 255 is void. Masks are kept in memory also where pictures are
    streamed.

    Args:
        reading: with the longer side of the pictures as `image_size`; None takes their own, 240
            at most. Where all have the same proportions they keep them, else they are square.
        classes: None finds them in the folder.
    Raises: DataError: when there is nothing to learn or to test.
    """
    findings = Findings()
    files = dict(tree.files)
    pairs, words = _pairs(tree, files, findings)
    if not pairs.get("train"):
        raise DataError(
            f"{tree.where} holds no pictures with masks to train with", first_of(findings.problems)
        )
    every = [pair for own in pairs.values() for pair in own]
    if classes is None:
        masks = ((tree.place(p.mask), files[p.mask]) for p in every)
        classes = find_classes(tree, masks, findings)
    parts = _shared_out(pairs, words, findings)
    modes = {pair.picture.mode for pair in every}
    format = PictureFormat(
        channels=reading.channels or (1 if modes <= GREY_MODES else 3),
        size=_fitted_size([pair.picture.size for pair in every], reading.image_size),
        fit="pad",
    )
    chosen = {
        part: _chosen(tree, files, own, format, classes, findings) for part, own in parts.items()
    }
    splits, damaged = make_splits(chosen, tree.where, format, reading)
    problems = (*findings.problems, *damaged)
    for part, split in splits.items():
        if not len(split):
            raise DataError(
                f"{tree.where}: none of the {part} pictures can be read", first_of(problems)
            )
    return Dataset(
        name=name,
        class_names=classes.names,
        format=format,
        train=splits["train"],
        val=splits.get("val"),
        test=splits["test"],
        problems=problems,
        notes=tuple(findings.notes),
        tasks=("segment",),
        mask_names=classes.names,
        mask_colours=classes.palette,
    )


def with_masks(dataset: Dataset, tree: Tree, found: Annotations) -> Dataset:
    """A detection set with the masks of SegmentationClass too, where every picture has one."""
    files = dict(tree.files)
    masks = {PurePosixPath(key).name: name for key, name in _masks(files).items()}
    sizes = {p.name: p.size for own in found.parts.values() for p in own}
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    names = [name for split in splits.values() if split is not None for name in split.names]
    having = sum(PurePosixPath(name).stem in masks for name in names)
    if having < len(names):
        if not having:
            return dataset
        note = (
            f"{having} of {len(names)} pictures have a mask: give {tree.where}/SegmentationClass "
            "to train on those"
        )
        return replace(dataset, notes=(*dataset.notes, note))
    findings = Findings()
    classes = MaskClasses.of(("background", *found.class_names))

    def extended(split: Split) -> Split:
        rows = [
            _fitted(tree, files, masks[PurePosixPath(n).stem], sizes[n], dataset.format, classes)
            for n in split.names
        ]
        void = torch.full(dataset.format.size, VOID, dtype=torch.uint8)
        for _, why, where in rows:
            if why:
                findings.add(where, why.replace("left out with its picture", "void instead"))
        stacked = torch.stack([void if mask is None else mask for mask, _, _ in rows])
        return replace(split, targets={**split.targets, "masks": stacked})

    return replace(
        dataset,
        train=extended(dataset.train),
        val=None if dataset.val is None else extended(dataset.val),
        test=extended(dataset.test),
        tasks=("detect", "segment"),
        mask_names=classes.names,
        problems=(*dataset.problems, *findings.problems),
    )


def has_masks(tree: Tree) -> bool:
    """Whether a picture and a mask of the same stem stand in folders of these kinds."""
    endings = (*_MASK_FOLDERS, _BESIDE)
    if not any(folder.lower().endswith(endings) for folder in tree.folders):
        return False
    files = dict(tree.files)
    return bool(_masks(files).keys() & _pictures(files).keys())


def _pairs(
    tree: Tree, files: Mapping[str, Source], findings: Findings
) -> tuple[dict[Part, list[_Pair]], dict[Part, str]]:
    """Pictures with their masks by split, and what the splits are called."""
    pictures, masks = _pictures(files), _masks(files)
    both = {key: name for key, name in pictures.items() if key in masks}
    listed = listed_parts(tree, files, "Segmentation")
    if listed.get("train"):
        keys: dict[Part, list[str]] = {}
        for part, lines in listed.items():
            keys[part] = list(dict.fromkeys(key for key, _, _ in lines if key in both))
            for key, name, line in lines:
                if key not in both:
                    findings.add(
                        f"{tree.place(name)} line {line}", "its picture or mask is missing"
                    )
        words = {part: str(part) for part in keys}
    else:
        keys, words = parts_by_folder({key: key for key in both})
        for key in sorted(pictures.keys() - masks.keys()):
            findings.add(tree.place(pictures[key]), "has no mask; left out")
    for key in sorted(masks.keys() - pictures.keys()):
        findings.add(tree.place(masks[key]), "has no picture")
    parts: dict[Part, list[_Pair]] = {}
    for part, own in keys.items():
        parts[part] = []
        for key in own:
            picture = opened(tree, both[key], files[both[key]], findings)
            if picture is not None:
                parts[part].append(_Pair(picture=picture, mask=masks[key]))
    return parts, words


def _pictures(files: Iterable[str]) -> dict[str, str]:
    """Names of pictures by what they have in common with their masks."""
    found: dict[str, str] = {}
    for name in files:
        path = PurePosixPath(name)
        folders = path.parts[:-1]
        if not name.lower().endswith(PICTURE_ENDINGS) or any(map(_holds_masks, folders)):
            continue
        kept = [folder for folder in folders if folder.lower() not in _PICTURE_FOLDERS]
        found["/".join([*kept, path.stem])] = name
    return found


def _masks(files: Iterable[str]) -> dict[str, str]:
    """Names of masks by what they have in common with their pictures."""
    found: dict[str, str] = {}
    for name in files:
        path = PurePosixPath(name)
        if not name.lower().endswith(PICTURE_ENDINGS):
            continue
        if not any(map(_holds_masks, path.parts[:-1])):
            continue
        kept = [
            folder.lower().removesuffix(_BESIDE) if _holds_masks(folder) else folder
            for folder in path.parts[:-1]
            if folder.lower() not in _MASK_FOLDERS
        ]
        for stem in (path.stem, _MASK_STEM.sub("", path.stem)):
            found.setdefault("/".join([*kept, stem]), name)
    return found


def _holds_masks(folder: str) -> bool:
    """Whether a folder of this name holds masks: labels, say, or trainannot beside train."""
    low = folder.lower()
    return low in _MASK_FOLDERS or (low.endswith(_BESIDE) and low != _BESIDE)


def _shared_out(
    pairs: Mapping[Part, Sequence[_Pair]], words: Mapping[Part, str], findings: Findings
) -> dict[Part, list[_Pair]]:
    every = [pair for own in pairs.values() for pair in own]
    place = {id(pair): index for index, pair in enumerate(every)}
    members = {part: tuple((place[id(p)], 0) for p in own) for part, own in pairs.items()}
    layout = complete((), members, words, (), kind="split", share="a fifth of the pictures")
    findings.notes += layout.notes
    return {
        part: [every[index] for index, _ in layout.parts[part]]
        for part in PARTS
        if part in layout.parts
    }


def _fitted_size(sizes: Sequence[tuple[int, int]], side: int | None) -> tuple[int, int]:
    longer = side or min(SEGMENTATION_SIDE_PX, max(max(size) for size in sizes))
    ratios = [h / w for h, w in sizes]
    if max(ratios) > _SAME_PROPORTIONS * min(ratios):
        return longer, longer
    h, w = sizes[0]
    scale = longer / max(h, w)
    return max(1, round(h * scale)), max(1, round(w * scale))


def _chosen(
    tree: Tree,
    files: Mapping[str, Source],
    pairs: Sequence[_Pair],
    format: PictureFormat,
    classes: MaskClasses,
    findings: Findings,
) -> Chosen:
    kept, masks = [], []
    for pair in pairs:
        mask, why, where = _fitted(tree, files, pair.mask, pair.picture.size, format, classes)
        if why:
            findings.add(where, why)
        if mask is not None:
            kept.append(pair.picture)
            masks.append(mask)
    empty = torch.empty(0, *format.size, dtype=torch.uint8)
    return Chosen(
        names=[picture.name for picture in kept],
        sources=[picture.source for picture in kept],
        targets={"masks": torch.stack(masks) if masks else empty},
    )


def _fitted(
    tree: Tree,
    files: Mapping[str, Source],
    name: str,
    size: tuple[int, int],
    format: PictureFormat,
    classes: MaskClasses,
) -> tuple[Tensor | None, str, str]:
    """A mask in the format, or None where it cannot be used; what is wrong with it, and where."""
    where = tree.place(name)
    try:
        values = decode_mask(files[name], where)
    except DataError as error:
        why = error.message.removeprefix(where).strip()
        return None, f"{why}; left out with its picture", where
    h, w = values.shape[:2]
    ratio = (h * size[1]) / (w * size[0])
    if not 1 / _SAME_PROPORTIONS < ratio < _SAME_PROPORTIONS:
        why = f"has {w}×{h} px, its picture {size[1]}×{size[0]}; left out with its picture"
        return None, why, where
    mask, why = classes.read(values)
    if (h, w) != size:
        stretched = PictureFormat(channels=1, size=size, fit="stretch")
        mask = placement_of((h, w), stretched).masks_in(mask)
    return placement_of(size, format).masks_in(mask), why, where
