import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convolens.errors import ConfigError, RunError
from convolens.train.config import Config, DataConfig, ModelConfig, PlanConfig
from convolens.train.settings import apply_settings, from_json, setting_keys, to_json

CONFIG = Config(data=DataConfig(name="digits"), model=ModelConfig(name="lenet5"))


def value_at(config: Config, key: str) -> object:
    node: object = config
    for part in key.split("."):
        node = getattr(node, part)
    return node


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimizer.lr=0.05", 0.05),
        ("optimizer.lr=1", 1.0),
        ("epochs=3", 3),
        ("optimizer.name=adam", "adam"),
        ("data.image_size=none", None),
        ("data.image_size=48", 48),
        ("data.strict=yes", True),
        ("penalty.l1=1e-4", 1e-4),
        ("augment.flip = 0.5", 0.5),
        ("data.name=a=b", "a=b"),
        ("plan.choose=reference", "reference"),
        ("plan.precision=float16", "float16"),
    ],
)
def test_a_setting_changes_its_field_and_no_other(setting: str, value: object) -> None:
    key = setting.split("=")[0].strip()
    changed = apply_settings(CONFIG, [setting])
    found = value_at(changed, key)
    assert found == value
    assert type(found) is type(value)
    for other in setting_keys():
        if other != key:
            assert value_at(changed, other) == value_at(CONFIG, other)


def test_every_key_is_a_field_that_can_be_set_to_its_own_value() -> None:
    assert {"optimizer.lr", "schedule.name", "augment.mixup", "seed"} <= set(setting_keys())
    for key in setting_keys():
        value = value_at(CONFIG, key)
        text = "none" if value is None else str(value)
        assert apply_settings(CONFIG, [f"{key}={text}"]) == CONFIG, key


def test_a_word_for_the_plan_is_short_for_how_it_is_chosen() -> None:
    changed = apply_settings(CONFIG, ["plan=reference", "plan.precision=float16"])
    assert (changed.plan.choose, changed.plan.precision) == ("reference", "float16")
    tree = json.loads(json.dumps(to_json(changed)))
    tree["plan"] = "reference"  # as the first Runs have it
    assert from_json(tree, "config.json").plan == PlanConfig(choose="reference")


def test_the_builders_arguments() -> None:
    settings = ["model.dropout=0.3", "model.activation=relu", "model.width=8"]
    changed = apply_settings(CONFIG, settings)
    assert changed.model.options == {"dropout": 0.3, "activation": "relu", "width": 8}
    assert changed.model.name == "lenet5"


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        ("optimizer.lr", "--set takes key=value, received 'optimizer.lr'", "Example"),
        ("=3", "--set takes key=value", "Example"),
        ("optimiser.lr=1", "there is no key 'optimiser.lr'", "optimizer.lr"),
        ("lr=1", "there is no key 'lr'", "optimizer.lr"),
        ("epochs=many", "--set epochs takes a whole number, received 'many'", None),
        ("epochs=2.5", "--set epochs takes a whole number, received '2.5'", None),
        ("optimizer.lr=fast", "--set optimizer.lr takes a number, received 'fast'", None),
        ("data.strict=maybe", "takes true or false, received 'maybe'", None),
        ("device=gpu", "takes auto or cpu or cuda, received 'gpu'", None),
        ("epochs=0", "epochs must be a whole number of at least 1, received 0", None),
        ("batch_size=-2", "batch_size must be a whole number of at least 1, received -2", None),
        (
            "data.val_fraction=1.5",
            "val_fraction must be a number of at least 0 and below 1",
            None,
        ),
        (
            "data.workers=-2",
            "data.workers must be a whole number of at least -1, received -2",
            None,
        ),
        ("plan=fast", "--set plan.choose takes auto or reference, received 'fast'", None),
        ("plan.precision=half", "takes auto or float32 or bfloat16 or float16, received", None),
        ("data.channels=2", "data.channels must be 1 or 3, received 2", None),
        (
            "loss.label_smoothing=1",
            "label_smoothing must be a number of at least 0 and below 1",
            None,
        ),
        ("optimizer.lr=nan", "lr", None),
    ],
)
def test_a_wrong_setting_is_explained(setting: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_settings(CONFIG, [setting])
    assert message in caught.value.message
    if hint is not None:
        assert hint in (caught.value.hint or "")


@given(
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(1e-8, 10),
    options=st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.text()),
)
def test_json_there_and_back(seed: int, lr: float, options: dict[str, object]) -> None:
    config = apply_settings(CONFIG, [f"seed={seed}", f"optimizer.lr={lr!r}"])
    config = replace(config, model=ModelConfig(name="x", options=options))
    assert from_json(json.loads(json.dumps(to_json(config))), "config.json") == config


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tree: tree.pop("data"), "is not a complete configuration"),
        (lambda tree: tree.update(colour=1), "has an unknown key 'colour'"),
        (lambda tree: tree["optimizer"].update(rate=1), "has an unknown key 'optimizer.rate'"),
        (lambda tree: tree.update(optimizer=3), "expected an object at 'optimizer.'"),
    ],
)
def test_a_damaged_configuration_is_named(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    tree = json.loads(json.dumps(to_json(CONFIG)))
    damage(tree)
    with pytest.raises(RunError, match=r"config\.json") as caught:
        from_json(tree, "config.json")
    assert message in caught.value.message
