from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convolens.errors import RunError
from convolens.models import lenet5
from convolens.train.transfer import transfer


def test_a_head_of_other_classes_begins_anew(tmp_path: Path) -> None:
    source, target = lenet5(num_classes=10), lenet5(num_classes=5)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    found = transfer(target, tmp_path / "w.safetensors")
    assert found.describe() == "loaded 8 of 10 tensors; new: fc3.weight (5, 84), fc3.bias (5,)"
    for name, value in target.state_dict().items():
        expected = before[name] if name.startswith("fc3") else source.state_dict()[name]
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_files_of_torch_save(tmp_path: Path, nested: str | None, suffix: str) -> None:
    source, target = lenet5(), lenet5()
    tree = source.state_dict()
    torch.save({nested: tree, "epoch": 3} if nested else tree, tmp_path / f"w{suffix}")
    found = transfer(target, tmp_path / f"w{suffix}")
    assert found.describe() == "loaded 10 of 10 tensors"
    assert torch.equal(target.conv1.weight, source.conv1.weight)


def test_names_that_are_not_used_are_said(tmp_path: Path) -> None:
    tensors = {**lenet5().state_dict(), "extra": torch.zeros(2)}
    save_file(tensors, tmp_path / "w.safetensors")
    text = transfer(lenet5(), tmp_path / "w.safetensors").describe()
    assert text == "loaded 10 of 10 tensors; not used: extra"


class Evil:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('unpickled')",))


def test_bad_files_are_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "words.pt").write_text("no weights")
    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    cases = {
        "other.safetensors": r"no tensor of .*other.safetensors fits Sequential: it has a \(3,\)",
        "words.pt": r"words.pt cannot be read as weights",
        "evil.pt": r"evil.pt cannot be read as weights",
        "list.pt": r"list.pt holds no tensors by name",
        "absent.pt": r"absent.pt is missing",
        "absent.safetensors": r"absent.safetensors is missing",
    }
    net = nn.Sequential(nn.Linear(2, 2))
    before = net[0].weight.detach().clone()
    for name, message in cases.items():
        with pytest.raises(RunError, match=message) as caught:
            transfer(net, tmp_path / name)
        assert "\n" not in caught.value.message
    assert torch.equal(net[0].weight, before)


def test_a_counter_alone_does_not_fit(tmp_path: Path) -> None:
    save_file({"1.num_batches_tracked": torch.tensor(3)}, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="no tensor of"):
        transfer(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), tmp_path / "w.safetensors")
