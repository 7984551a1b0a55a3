from pathlib import Path

from convolens.train.config import Config, DataConfig, ModelConfig
from convolens.train.events import Decoded, Event
from convolens.workbench.material import load


def test_how_many_pictures_are_decoded_is_told(stripes: Path) -> None:
    config = Config(data=DataConfig(name=str(stripes)), model=ModelConfig(name="lenet5"))
    told: list[Event] = []
    load(config, told.append)
    assert {event.total for event in told if isinstance(event, Decoded)} == {48}
    done = [event.done for event in told if isinstance(event, Decoded)]
    assert done == sorted(done)
    assert done[-1] == 48
