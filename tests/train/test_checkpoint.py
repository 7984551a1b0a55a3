import json
import math
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from convolens.errors import RunError, ShapeError
from convolens.train.checkpoint import load_tensors, load_weights, pack, save_tensors, unpack


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mixed_tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0)
    return {
        "bf16": torch.tensor([1.5, -2.0, math.inf], dtype=torch.bfloat16),
        "half": torch.tensor([[0.1, math.nan]], dtype=torch.float16),
        "double": torch.tensor(math.pi, dtype=torch.float64),
        "bool": torch.tensor([True, False, True]),
        "int64": torch.tensor([2**62, -1]),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "zero_dim": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": base.reshape(4, 6).T,
        "view": base[3:7],
        "alias": base,
        "alias_again": base,
        "expanded": torch.ones(1, 3).expand(2, 3),
        "parameter": nn.Parameter(torch.randn(3)),
    }


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def equal(a, b) -> bool:
    """Equality to the last bit: types, order of keys, nan, the sign of zero."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and same(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.isnan(a) and math.isnan(b) if a != a else a.hex() == b.hex()
    if isinstance(a, dict):
        return equal(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_every_kind_of_tensor_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors, meta = mixed_tensors(), {"epoch": 3, "names": ["猫"], "loss": 0.1}
    save_tensors(path, tensors, meta)
    loaded, loaded_meta = load_tensors(path)
    assert list(loaded) == sorted(tensors)
    assert all(same(tensors[name], loaded[name]) for name in tensors)
    assert loaded_meta == meta
    assert names_in(tmp_path) == [path.name]


def test_any_safetensors_reader_reads_the_file(tmp_path):
    tensors = mixed_tensors()
    save_tensors(tmp_path / "a", tensors, {})
    theirs = load_file(tmp_path / "a")
    assert all(same(value, theirs[name]) for name, value in tensors.items())


def test_a_file_of_another_program_is_read(tmp_path):
    weights = {"w": torch.randn(2, 2)}
    save_file(weights, tmp_path / "a", {"format": "pt"})
    save_file(weights, tmp_path / "b")
    assert same(load_tensors(tmp_path / "a")[0]["w"], weights["w"])
    assert load_tensors(tmp_path / "a")[1] == {"format": "pt"}
    assert load_tensors(tmp_path / "b")[1] == {}


def test_no_tensors_at_all_are_a_file_too(tmp_path):
    save_tensors(tmp_path / "a", {}, {"a": 1})
    assert load_tensors(tmp_path / "a") == ({}, {"a": 1})


def read_or_none(path):
    try:
        return load_tensors(path)
    except RunError:
        return None


def test_no_flipped_byte_gives_wrong_data(tmp_path):
    """Every byte of the header and of the data in turn, each made another by chance."""
    path = tmp_path / "a.safetensors"
    tensors = {"b": torch.randn(3, 2), "a": torch.arange(4, dtype=torch.int32)}
    meta = {"epoch": 12, "best": 0.5}
    save_tensors(path, tensors, meta)
    whole = path.read_bytes()
    chance = random.Random(0)
    noticed = 0
    for place in range(len(whole)):
        for flip in {1 << chance.randrange(8), chance.randrange(1, 256)}:
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            result = read_or_none(path)
            noticed += result is None
            if result is not None:
                # Only white space that pads the header may change unnoticed.
                assert equal(result, ({name: tensors[name] for name in ("a", "b")}, meta))
    assert noticed > len(whole)


def test_no_truncated_or_lengthened_file_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.randn(20)}, {"epoch": 1})
    whole = path.read_bytes()
    for damaged in [whole[:n] for n in range(len(whole))] + [whole + b"\0", whole * 2]:
        path.write_bytes(damaged)
        assert read_or_none(path) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 this is a pickle in a zip", "it is not a whole safetensors file"),
        (b"\xff" * 64, "it is not a whole safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path, data, reason):
    path = tmp_path / "best.safetensors"
    path.write_bytes(data)
    with pytest.raises(RunError) as error:
        load_tensors(path)
    assert str(error.value).startswith(f"{path} is damaged: {reason}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"best\.safetensors is missing"):
        load_tensors(tmp_path / "best.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    save_tensors(path, {"a": torch.ones(3)}, {})

    def full(_handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="a cannot be written: no space is left on the disk"):
            save_tensors(path, {"a": torch.zeros(3)}, {})
    assert load_tensors(path)[0]["a"].tolist() == [1, 1, 1]
    assert names_in(tmp_path) == ["a"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_come_back_on_the_cpu(tmp_path):
    save_tensors(tmp_path / "a", {"a": torch.arange(3, device="cuda")}, {})
    assert load_tensors(tmp_path / "a")[0]["a"].tolist() == [0, 1, 2]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
)
tensors = st.lists(st.floats(width=32), max_size=4).map(torch.tensor) | st.just(torch.tensor(7))
trees = st.recursive(
    scalars | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            scalars.filter(lambda key: key == key)
            | st.sampled_from(["$dict", "$tensor", "$", "a.b"])
            | st.tuples(st.integers(), st.text(max_size=2)),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(tree=trees)
def test_a_packed_tree_comes_back_to_the_last_bit(tmp_path_factory, tree):
    packed, parts = pack(tree)
    assert equal(unpack(json.loads(json.dumps(packed, allow_nan=False)), parts), tree)


def test_a_packed_tree_comes_back_out_of_a_file(tmp_path):
    tree = {"state": {0: {"step": torch.tensor(3.0), "lists": [None, (1, -0.0)]}}, "lr": 0.1}
    packed, parts = pack(tree)
    save_tensors(tmp_path / "a", {**parts, "model.w": torch.ones(1)}, {"tree": packed})
    loaded, meta = load_tensors(tmp_path / "a")
    assert equal(unpack(meta["tree"], loaded), tree)


def test_a_tree_of_something_else_is_refused():
    with pytest.raises(TypeError, match="a saved tree cannot hold a set: "):
        pack({"a": {1, 2}})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"$tensor": "none"}, r"the saved tree is damaged at \$tensor: 'none'"),
        ({"$float": "x"}, r"the saved tree is damaged at \$float: "),
        ({"$dict": [1]}, r"the saved tree is damaged at \$dict: "),
        ({"$pickle": "x"}, r"the saved tree is damaged: it has an unknown mark '\$pickle'"),
    ],
)
def test_a_damaged_tree_is_refused(tree, message):
    with pytest.raises(RunError, match=message):
        unpack(tree, {})


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 2))


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_weights_come_back_with_their_meta(tmp_path):
    theirs, ours = net(), net().to(memory_format=torch.channels_last)
    theirs[1].running_mean.fill_(3.0)
    save_tensors(tmp_path / "a", theirs.state_dict(), {"epoch": 2})
    assert load_weights(ours, tmp_path / "a") == {"epoch": 2}
    assert equal(dict(ours.state_dict()), dict(theirs.state_dict()))
    assert ours[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_of_other_shapes_are_named_and_nothing_is_loaded(tmp_path):
    path, model = tmp_path / "a", net()
    other = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    other["0.weight"] = torch.zeros(6, 1, 5, 5)
    save_tensors(path, other, {})
    before = weights_of(model)
    with pytest.raises(ShapeError) as error:
        load_weights(model, path)
    assert str(error.value) == (
        f"{path} does not fit Sequential: 0.weight: expected (6, 3, 5, 5), received (6, 1, 5, 5)"
    )
    assert equal(weights_of(model), before)


def test_missing_and_unexpected_weights_are_named_and_nothing_is_loaded(tmp_path):
    path, model = tmp_path / "a", net()
    other = {f"layer{i}": torch.zeros(1) for i in range(5)}
    other |= {n: torch.zeros_like(v) for n, v in weights_of(model).items() if n != "3.bias"}
    save_tensors(path, other, {})
    before = weights_of(model)
    with pytest.raises(RunError) as error:
        load_weights(model, path)
    assert str(error.value) == (
        f"{path} does not fit Sequential: missing 3.bias; "
        "unexpected layer0, layer1, layer2 and 2 more"
    )
    assert equal(weights_of(model), before)
