import shutil
from pathlib import Path

import pytest
import torch

import convolens as cl
from convolens.errors import ConfigError
from convolens.train.evaluation import MOST_PICTURES
from convolens.train.evaluation import evaluate as evaluate_split
from convolens.workbench.evaluate import Ensemble, evaluate
from convolens.workbench.material import load
from convolens.workbench.run import Run
from convolens.workbench.train import train
from convolens.workbench.views import with_views


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Another network, of another picture format, on the same dataset."""
    return train(
        "digits",
        model="small_convnet",
        epochs=3,
        out=tmp_path_factory.mktemp("runs"),
        settings=["data.image_size=28", "data.val_fraction=0.2", "plan.precision=float32"],
    )


def probabilities(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    test = load(run.config).test
    labels = run.task.targets(test, torch.arange(len(test)))
    pixels, _ = run.task.prepare(test.pictures.batch(torch.arange(len(test))), labels, None)
    with torch.inference_mode():
        outputs = run.network()(run.plan().arrange(pixels))
    return outputs.float().softmax(1), labels


def test_runs_together_average_their_probabilities(digits_run: Run, other_run: Run) -> None:
    found = cl.eval([digits_run, other_run.path])
    assert isinstance(found, Ensemble)
    assert found.each == (evaluate(digits_run), evaluate(other_run))
    mine, labels = probabilities(digits_run)
    mean = (mine + probabilities(other_run)[0]) / 2
    assert found.metrics["accuracy"] == float((mean.argmax(1) == labels).double().mean())
    loss = -mean.double().log()[torch.arange(len(labels)), labels].mean()
    assert found.metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert len(labels) < MOST_PICTURES
    assert found.metrics["loss"] < max(metrics["loss"] for metrics in found.each)


def test_a_run_with_itself_changes_nothing(digits_run: Run) -> None:
    found = evaluate([digits_run, digits_run])
    alone = evaluate(digits_run)
    assert found.metrics["accuracy"] == alone["accuracy"]
    assert found.metrics["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert evaluate([digits_run]).each == (alone,)


def test_runs_that_do_not_go_together(digits_run: Run, stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs at least one Run"):
        evaluate([])
    options = {"epochs": 1, "batch": 8, "out": tmp_path}
    first = train(str(stripes), **options)
    with pytest.raises(ConfigError, match="need the same classes") as caught:
        evaluate([digits_run, first])
    assert "has across, down" in caught.value.message
    shutil.copytree(stripes, tmp_path / "others")
    second = train(str(tmp_path / "others"), **options)
    with pytest.raises(ConfigError, match="need the same test pictures"):
        evaluate([first, second])
    assert len(evaluate([first, second], str(stripes)).each) == 2


@pytest.mark.parametrize("tta", ["flip", "crops"])
def test_views_at_test_time(digits_run: Run, tmp_path: Path, tta: str) -> None:
    from PIL import Image

    plain, viewed = evaluate(digits_run), evaluate(digits_run, tta=tta)
    assert viewed.keys() == plain.keys()
    assert viewed["loss"] != plain["loss"]
    assert evaluate(digits_run, tta="none") == plain
    Image.effect_noise((40, 40), 90).save(tmp_path / "noise.png")
    (one,) = digits_run.predict(tmp_path / "noise.png", tta=tta, top=10)
    (two,) = cl.predict(digits_run, tmp_path / "noise.png", top=10)
    assert dict(one.labels) != dict(two.labels)
    assert sum(dict(one.labels).values()) == pytest.approx(1, abs=1e-5)


def test_a_run_that_was_trained_for_views_repeats_its_own_metrics(tmp_path: Path) -> None:
    run = train("digits", epochs=2, out=tmp_path, settings=["tta=flip"])
    assert evaluate(run) == run.test["metrics"]
    assert evaluate(run, tta="flip") == run.test["metrics"]
    assert evaluate(run, tta="none") != run.test["metrics"]


def test_evaluation_leaves_every_module_in_its_mode(digits_run: Run) -> None:
    network = digits_run.network()
    evaluate_split(
        with_views(network, "flip"),
        digits_run.task,
        load(digits_run.config).test,
        digits_run.plan(),
    )
    assert not any(module.training for module in network.modules())
