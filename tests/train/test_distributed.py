import socket
import textwrap
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from convolens.errors import ConfigError
from convolens.train.distributed import Processes, check_share

DEADLINE_S = 60.0

# What each process runs around the code of a test: `all` are the Processes, `rank` their number.
MEMBER = """
import torch
from safetensors.torch import save_file
from torch import nn
from convolens.train.batch_norm import share_batch_norm
from convolens.train.distributed import Processes, joined
torch.set_num_threads(1)
all = Processes(rank=rank, world_size=world_size, local_rank=rank, port=port)
with joined(all):
    exec(part)
"""


@pytest.fixture
def together(start: Callable[..., BaseProcess], tmp_path: Path) -> Callable[..., list[int]]:
    """Runs a piece of code in several processes that have joined; returns their exit statuses."""

    def together(world_size: int, part: str) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        code = textwrap.dedent(part).replace("FOLDER", str(tmp_path))
        names = {"world_size": world_size, "port": port, "part": code}
        members = [start(MEMBER, rank=rank, **names) for rank in range(world_size)]
        for member in members:
            member.join(DEADLINE_S)
        return [member.exitcode for member in members]

    return together


@given(st.integers(1, 300), st.integers(1, 9))
def test_shares_cover_a_batch_in_order(batch_size: int, world_size: int) -> None:
    shares = [Processes(rank=r, world_size=world_size).share(batch_size) for r in range(world_size)]
    rows = torch.arange(batch_size)
    assert torch.cat([share.of(rows) for share in shares]).equal(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4))
def test_a_batch_is_refused_where_a_part_of_it_would_be_empty(
    batch_size: int, world_size: int, parts: int
) -> None:
    processes = [Processes(rank=r, world_size=world_size) for r in range(world_size)]
    empty = min(len(p.share(batch_size)) for p in processes) < parts
    if empty and world_size > 1:
        with pytest.raises(ConfigError, match=f"batch_size {batch_size} is too small"):
            check_share(processes[0], batch_size, parts)
    else:
        check_share(processes[0], batch_size, parts)


def test_a_rank_beyond_the_number_of_processes() -> None:
    with pytest.raises(ConfigError, match="received 2 of 2"):
        Processes(rank=2, world_size=2)


def test_alone_nothing_is_exchanged() -> None:
    alone, value = Processes(), torch.ones(2)
    alone.add_(value)
    alone.spread(nn.Linear(2, 1))
    assert value.tolist() == [1, 1]
    assert alone.broadcast(b"words") == b"words"
    assert alone.any(True)
    assert not alone.any(False)


def test_what_is_exchanged(together: Callable[..., list[int]]) -> None:
    statuses = together(
        3,
        """
        assert all.broadcast(b"from 0" if rank == 0 else b"ignored, and longer") == b"from 0"
        assert all.broadcast(b"") == b""
        assert all.any(rank == 2)
        assert not all.any(False)
        # Volumes of different sizes and types, and one process that has none.
        own = {f"{rank}.x": torch.arange(rank * 4.0).view(rank, 4).bfloat16()} if rank else {}
        found = all.gather(own)
        assert sorted(found) == ["1.x", "2.x"]
        assert found["2.x"].dtype == torch.bfloat16
        assert found["2.x"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        torch.manual_seed(rank)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(
            memory_format=torch.channels_last
        )
        all.spread(net)
        torch.manual_seed(0)
        same = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        for mine, first in zip(net.parameters(), same.parameters()):
            assert torch.equal(mine, first)
        """,
    )
    assert statuses == [0, 0, 0]


def test_gradients_are_summed_also_where_some_are_missing(
    together: Callable[..., list[int]],
) -> None:
    statuses = together(
        2,
        """
        a, b, c = (nn.Parameter(torch.zeros(2, 3)) for _ in range(3))
        frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
        a.grad = torch.full((2, 3), 1.0 + rank)
        if rank:
            b.grad = torch.full((3, 2), 5.0).t()
        loss, metrics = all.add_gradients(
            [a, b, frozen, c], torch.tensor(0.25 + rank), {"accuracy": torch.tensor(0.5 * rank)}
        )
        assert a.grad.tolist() == [[3.0] * 3] * 2
        assert b.grad.tolist() == [[5.0] * 3] * 2
        assert c.grad is None and frozen.grad is None
        assert (float(loss), metrics) == (1.5, {"accuracy": 0.5})
        """,
    )
    assert statuses == [0, 0]


def test_all_processes_leave_out_the_step_that_overflows_in_one(
    together: Callable[..., list[int]],
) -> None:
    statuses = together(
        2,
        """
        from convolens.train.scale import LossScale
        weight = nn.Parameter(torch.ones(2))
        optimizer, scale = torch.optim.SGD([weight], lr=1.0), LossScale("cpu")
        for step, value in enumerate([float("inf") if rank else 2.0**16, 2.0**14]):
            scale.grow(torch.zeros(()))
            weight.grad = torch.full((2,), value)
            all.add_gradients([weight], torch.tensor(0.0), {})
            scale.restore(optimizer)
            scale.step(optimizer)
            assert scale.value == 2.0**15
            # The second gradient is 2 · 2^14 / 2^15.
            assert weight.tolist() == ([1.0, 1.0] if step == 0 else [0.0, 0.0])
        """,
    )
    assert statuses == [0, 0]


NORMS = {
    "plain": lambda: nn.BatchNorm2d(3),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
    "bare": lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False),
}


def test_batch_norm_sees_the_pictures_of_all_processes(
    together: Callable[..., list[int]], tmp_path: Path
) -> None:
    """The oracle is torch's batch norm on the whole batch, in one process."""
    statuses = together(
        3,
        """
        norms = {
            "plain": nn.BatchNorm2d(3),
            "cumulative": nn.BatchNorm2d(3, momentum=None),
            "bare": nn.BatchNorm2d(3, affine=False, track_running_stats=False),
        }
        out = {}
        for name, norm in norms.items():
            share_batch_norm(norm.double(), all)
            for step in range(2):
                x = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(step))
                x = x.double() + 30
                x = all.share(8).of(x.to(memory_format=torch.channels_last)).requires_grad_()
                y = norm(x)
                (y ** 3 / 8).sum().backward()
                out |= {f"{name}.{step}.y": y, f"{name}.{step}.dx": x.grad}
            out |= {f"{name}.{key}": p.grad for key, p in norm.named_parameters()}
            out |= {f"{name}.{key}": value for key, value in norm.state_dict(prefix="own.").items()}
            norm.eval()
            out[f"{name}.eval"] = norm(x)
        plain = {key: value.detach().contiguous() for key, value in out.items()}
        save_file(plain, f"FOLDER/{rank}.safetensors")
        """,
    )
    assert statuses == [0, 0, 0]
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(3)]
    for name, make in NORMS.items():
        norm = make().double()
        for step in range(2):
            x = torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(step))
            x = (x.double() + 30).requires_grad_()
            y = norm(x)
            (y**3 / 8).sum().backward()
            for key, value in (("y", y), ("dx", x.grad)):
                parts = torch.cat([part[f"{name}.{step}.{key}"] for part in found])
                torch.testing.assert_close(parts, value.detach())
        for key, value in norm.state_dict(prefix="own.").items():
            for part in found:
                torch.testing.assert_close(part[f"{name}.{key}"], value)
        for key, parameter in norm.named_parameters():
            total = sum(part[f"{name}.{key}"] for part in found)
            torch.testing.assert_close(total, parameter.grad)


def test_an_error_in_one_process_ends_all_and_is_told_once(
    together: Callable[..., list[int]], tmp_path: Path
) -> None:
    statuses = together(
        3,
        """
        from convolens.errors import DataError
        all.wait()
        if rank == 1:
            raise DataError("the picture is damaged")
        all.wait()
        """,
    )
    assert all(status != 0 for status in statuses)
    last = (tmp_path / "log").read_text()
    told = [line for line in last.splitlines() if line.startswith("convolens.errors.DataError")]
    assert told == ["convolens.errors.DataError: the picture is damaged"]
    assert last.count("EndedElsewhereError: another process has said why") == 2


def test_processes_that_do_not_meet(
    together: Callable[..., list[int]], start: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    code = MEMBER.replace(
        "with joined", "import convolens.train.distributed as d; d.MEET_S = 0.5\nwith joined"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        names = {"rank": 1, "world_size": 2, "port": taken.getsockname()[1], "part": ""}
        member = start(code, **names)
        member.join(DEADLINE_S)
    assert member.exitcode == 1
    assert "process 1 did not meet the other 1 at 127.0.0.1:" in (tmp_path / "log").read_text()
