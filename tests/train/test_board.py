from importlib import util
from pathlib import Path

import pytest

from convolens.errors import ConfigError
from convolens.train.board import Board, check_tensorboard
from convolens.train.events import EpochEnded, Event, Started, Stepped

INSTALLED = util.find_spec("tensorboard") is not None


def play(folder: Path, first: int, last: int, told: list[Event], loss: float) -> None:
    board = Board(folder, told.append)
    board(Started(step=first, total_steps=4, epochs=2, batch_size=8))
    for step in range(first + 1, last + 1):
        epoch = (step + 1) // 2
        board(Stepped(step=step, epoch=epoch, num_images=8, metrics={"loss": loss / step}))
        if step % 2 == 0:
            row = {"epoch": epoch, "step": step, "val_accuracy": 0.1 * step}
            board(EpochEnded(epoch=epoch, row=row))
    board.close()


@pytest.mark.skipif(not INSTALLED, reason="TensorBoard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_event_files_hold_every_step_once_also_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told: list[Event] = []
    play(tmp_path, 0, 3, told, loss=9.0)  # killed after step 3, its state is that of step 2
    play(tmp_path, 2, 4, told, loss=1.0)
    assert len(told) == 9
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    steps = [(e.step, round(e.value, 4)) for e in events.Scalars("step/train_loss")]
    assert steps == [(1, 9.0), (2, 4.5), (3, 0.3333), (4, 0.25)]
    epochs = [(e.step, round(e.value, 4)) for e in events.Scalars("epoch/val_accuracy")]
    assert epochs == [(2, 0.2), (4, 0.4)]


def test_without_tensorboard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convolens.train.board.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="tensorboard=true needs TensorBoard") as caught:
        check_tensorboard()
    assert caught.value.hint == "Install it with: pip install 'convolens[tensorboard]'"
