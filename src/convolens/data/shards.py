"""WebDataset shards: tar files in which KEY.jpg stands beside its label, KEY.cls.

The shards are indexed once: where in which file each picture begins, and its label. From then on a
picture is read by its place, so that training sees exactly the order it asks for, and resumes
exactly, as no reader does that goes through the shards in a row.
"""

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from convolens.data.base import Dataset, Problem
from convolens.data.folder import Reading, picture_dataset
from convolens.data.index import Sample, Shard, cached_index
from convolens.data.layout import Members, Part, complete, part_named
from convolens.data.source import Region
from convolens.data.tree import PICTURE_ENDINGS, Tree
from convolens.errors import DataError

LABEL_ENDINGS = (".cls", ".json", ".txt")  # the first that a picture has counts
_JSON_KEYS = ("cls", "label", "class", "class_name")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_PEEK = 32  # members of a tar that tell whether it is a shard
_HINT = "Each picture KEY.jpg needs its label, KEY.cls, KEY.json or KEY.txt, in the same shard."


def find_shards(word: str) -> list[Path] | None:
    """The shards that a word names, sorted; None where it names none.

    Args:
        word: a shard, a folder of shards, or a pattern such as "train-{0000..0009}.tar" or
            "{train,val}.tar".
    Raises: DataError: when a pattern names a file that is not there.
    """
    if _BRACES.search(word) and not Path(word).exists():
        paths = [Path(name).expanduser() for name in _expanded(word)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(f"{len(missing)} of {len(paths)} shards are missing, as {missing[0]}")
        return sorted(paths)
    path = Path(word).expanduser()
    if path.is_file():
        return [path] if path.suffix.lower() == ".tar" and is_shard(path) else None
    if not path.is_dir():
        return None
    shards = sorted(p for p in path.iterdir() if p.suffix.lower() == ".tar" and p.is_file())
    return shards if shards and any(map(is_shard, shards[:3])) else None


def is_shard(path: Path) -> bool:
    """Whether the first members of a tar are pictures and labels of one key."""
    keys: dict[str, set[str]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for info, _ in zip(archive, range(_PEEK), strict=False):
                key, ending = split_name(info.name)
                keys.setdefault(key, set()).add(ending)
    except (OSError, tarfile.TarError):
        return False
    return any(
        endings & set(PICTURE_ENDINGS) and endings & set(LABEL_ENDINGS) for endings in keys.values()
    )


def load_shards(paths: Sequence[Path], name: str, cache: Path, reading: Reading) -> Dataset:
    """Reads WebDataset shards, uncompressed tar files with a label beside each picture.

    Labels are numbers or names of classes; `classes.txt` beside the shards, one class a line,
    names the numbers and orders the names. Shards whose names say train, val or test are these
    splits; otherwise a fixed fifth of each class is the test.

    Args:
        cache: the folder in which the index is kept until a shard changes.
    Raises: DataError: when no picture has a label, or a label is none of the classes.
    """
    shards = cached_index(paths, cache, index_shard)
    problems = [problem for shard in shards for problem in shard.problems]
    samples = [(shard, sample) for shard in shards for sample in shard.samples]
    where = paths[0].parent
    if not samples:
        first = f"{problems[0].where} {problems[0].why}; " if problems else ""
        raise DataError(f"{where}: {first}no shard holds a picture with a label", hint=_HINT)
    class_names, labels = _classes(samples, where)
    parts, words, beside = _parts(samples, labels)
    tree = Tree(
        where=str(where),
        files=tuple(
            (
                f"{shard.path.name}/{sample.name}",
                Region(str(shard.path), sample.offset, sample.size),
            )
            for shard, sample in samples
        ),
        folders=frozenset(),
    )
    _check_classes(class_names, labels, parts["train"], where)
    layout = complete(class_names, parts, words, (*problems, *beside), kind="shard")
    return picture_dataset(tree, layout, name, reading)


def index_shard(path: Path) -> Shard:
    """Finds the pictures and labels in one shard; what is damaged or alone is a problem."""
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, dict[str, str]] = {}
    problems = []
    try:
        for name, offset, content, size in _members(path):
            key, ending = split_name(name)
            if ending in LABEL_ENDINGS:
                labels.setdefault(key, {})[ending] = content
            elif ending in PICTURE_ENDINGS:
                pictures.setdefault(key, (name, offset, size))
    except (OSError, tarfile.TarError) as error:
        why = f"is damaged after picture {len(pictures)}: {error}"
        problems.append(Problem(where=str(path), why=why))
    samples = []
    for key, (name, offset, size) in pictures.items():
        try:
            label = _label(labels.get(key, {}))
        except DataError as error:
            problems.append(Problem(where=f"{path}/{name}", why=error.message))
            continue
        samples.append(Sample(name=name, offset=offset, size=size, label=label))
    return Shard(path=path, samples=tuple(samples), problems=tuple(problems))


def split_name(name: str) -> tuple[str, str]:
    """A member's key and its last ending: "a/7.left.jpg" is "a/7" and ".jpg"."""
    folder, slash, file = name.rpartition("/")
    key, dot, rest = file.partition(".")
    return folder + slash + key, (dot + rest.rpartition(".")[2]).lower()


def _members(path: Path) -> Iterator[tuple[str, int, str, int]]:
    """Name, offset, text (of labels) and size of each regular file in a tar."""
    end = path.stat().st_size
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isreg() and not info.name.rpartition("/")[2].startswith("."):
                if info.offset_data + info.size > end:
                    raise tarfile.ReadError("unexpected end of data")
                is_label = split_name(info.name)[1] in LABEL_ENDINGS
                file = archive.extractfile(info) if is_label else None
                text = file.read().decode(errors="replace").strip() if file else ""
                yield info.name, info.offset_data, text, info.size
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every header


def _label(texts: Mapping[str, str]) -> str:
    """The label of one picture, from the contents of its label files."""
    for ending in LABEL_ENDINGS:
        if ending not in texts:
            continue
        text = texts[ending]
        if ending == ".json":
            try:
                page = json.loads(text)
            except ValueError as error:
                raise DataError("has a label in JSON that is damaged") from error
            values = (
                [page[k] for k in _JSON_KEYS if k in page] if isinstance(page, dict) else [page]
            )
            text = str(values[0]).strip() if values else ""
        if text:
            return text
    raise DataError("has no label")


def _classes(
    samples: Sequence[tuple[Shard, Sample]], where: Path
) -> tuple[tuple[str, ...], list[int]]:
    """The class names, and each sample's label as a number that counts them."""
    texts = [sample.label for _, sample in samples]
    found = set(texts)
    numbered = all(text.isdecimal() for text in found)
    listing = where / "classes.txt"
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8-sig").split("\n")
        names = tuple(line.strip() for line in lines if line.strip())
        known = {str(i): i for i in range(len(names))} if numbered else {}
        known |= {name: i for i, name in enumerate(names)}
    else:
        names = tuple(sorted(found, key=int) if numbered else sorted(found))
        if not numbered and len(names) > max(2, len(samples) // 2):
            raise DataError(
                f"{where}: {len(samples)} pictures have {len(names)} different labels, as "
                f"'{names[0][:60]}'; they look like captions",
                hint=_HINT,
            )
        known = {name: i for i, name in enumerate(names)}
    unknown = sorted(found - known.keys())
    if unknown:
        raise DataError(
            f"{listing} names {len(names)} classes; '{unknown[0][:60]}' is none of them",
            hint=f"It has: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}.",
        )
    return names, [known[text] for text in texts]


def _parts(
    samples: Sequence[tuple[Shard, Sample]], labels: Sequence[int]
) -> tuple[dict[Part, Members], dict[Part, str], list[Problem]]:
    """The samples of each split, what the shards call it, and the shards that are of none."""
    members: dict[Part, list[tuple[int, int]]] = {}
    words: dict[Part, str] = {}
    beside: dict[Path, int] = {}
    for place, ((shard, _), label) in enumerate(zip(samples, labels, strict=True)):
        part, word = _part_of(shard.path)
        if part is None:
            beside[shard.path] = beside.get(shard.path, 0) + 1
            continue
        words.setdefault(part, word)
        members.setdefault(part, []).append((place, label))
    if not members:
        return {"train": tuple(enumerate(labels))}, {}, []
    if "train" not in members:
        raise DataError(
            f"there are shards of {' and '.join(sorted(words.values()))} but none of train",
            hint="Name them train-0000.tar and so on.",
        )
    why = "is none of train, val and test, and was not read"
    problems = [Problem(where=str(path), why=why) for path in beside]
    return {part: tuple(found) for part, found in members.items()}, words, problems


def _part_of(path: Path) -> tuple[Part | None, str]:
    """The split that a word of a shard's name means: "train" of flowers-train-0000.tar."""
    words = re.split(r"[-_.]", path.stem)
    return next(((part, word) for word in words if (part := part_named(word))), (None, ""))


def _check_classes(
    names: tuple[str, ...], labels: Sequence[int], train: Members, where: Path
) -> None:
    trained = {label for _, label in train}
    for label, name in enumerate(names):
        if label not in trained:
            raise DataError(f"{where}: the training shards hold no picture of class '{name}'")
    if len(names) < 2:
        raise DataError(f"{where}: all {len(labels)} pictures are of one class; two are needed")


def _expanded(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for."""
    pieces = _BRACES.split(pattern)  # text, inside, text, inside, …, text
    choices = [[p] if i % 2 == 0 else _alternatives(p) for i, p in enumerate(pieces)]
    return ["".join(words) for words in product(*choices)]


def _alternatives(inside: str) -> list[str]:
    found = _RANGE.fullmatch(inside)
    if found is None:
        return inside.split(",")
    first, last = found.groups()
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
