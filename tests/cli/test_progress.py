from io import StringIO

from rich.console import Console

from convolens.cli.progress import Display
from convolens.train.events import Decoded, Started, Stepped


def shown(*, terminal: bool) -> str:
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, color_system=None)
    with Display(console) as display:
        for done in (0, 1_000, 25_000):
            display(Decoded(done=done, total=50_000))
            display._progress.refresh()
        display(Started(step=0, total_steps=10, epochs=1, batch_size=4))
        display._progress.refresh()
        display(Stepped(step=1, epoch=1, num_images=4, metrics={"loss": 0.5}))
        display._progress.refresh()
    return text.getvalue()


def test_decoding_is_shown_until_training_begins() -> None:
    before, _, after = shown(terminal=True).partition("starting")
    assert "decoding" in before
    assert "25,000 of 50,000 pictures" in before
    assert "left" in before
    assert "pictures" not in after
    assert "epoch 1/1" in after
    assert "loss 0.5000" in after


def test_what_is_no_terminal_gets_no_bar() -> None:
    assert shown(terminal=False) == ""
