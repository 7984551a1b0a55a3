"""`train`: a dataset, a network and a recipe become a Run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convolens.data.registry import dataset_names
from convolens.data.root import cache_folder
from convolens.errors import ConfigError, RunError
from convolens.recipes.registry import find_recipe
from convolens.train.config import Config, ModelConfig
from convolens.train.events import Noted, Notify, ignore
from convolens.train.files import write_json
from convolens.train.loop import check_batch_size
from convolens.train.optimizer import resolved
from convolens.train.plan import choose_device, choose_plan
from convolens.train.run import RunFolder, check_out, check_run_name, create_run_folder
from convolens.train.settings import apply_settings, to_json
from convolens.train.state import state_files
from convolens.train.stop import stop_signals
from convolens.workbench.facts import environment, facts_of, notes_of
from convolens.workbench.material import Material, initial_network, load, make_task
from convolens.workbench.run import Run
from convolens.workbench.work import work


def train(
    data: str | None = None,
    *,
    model: str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    out: str | Path = "runs",
    name: str | None = None,
    data_root: str | Path | None = None,
    strict: bool | None = None,
    settings: Sequence[str] = (),
    resume: str | Path | None = None,
    notify: Notify = ignore,
) -> Run:
    """Trains a network on a dataset and leaves a Run.

    Args:
        data: a dataset's name or a folder of pictures; None is "digits".
        model: a network (`convolens models`); None is the recipe's.
        recipe: a recipe's name; None is the dataset's own.
        epochs, batch, device, seed, strict: change these fields of the recipe.
        out: the folder in which the Run's folder is made.
        name: the Run's name; None makes one of dataset, model and a number.
        data_root: where named datasets are; None is a cache folder of the user's.
        settings: "key=value" for any field of the recipe, such as "optimizer.lr=0.05".
        resume: a stopped Run to go on with; it has its own recipe, so that beside it only
            `device`, `data_root` and `notify` may be given.
        notify: is told of every step, epoch and note.
    Returns: the Run, trained and tested.
    Raises:
        ConvolensError: when a word, a value or the data is wrong; no Run is left behind.
        StoppedError: when Ctrl-C or SIGTERM stopped it; the Run can be resumed.
    Example:
        >>> run = train("digits", model="lenet5", epochs=1)  # doctest: +SKIP
    """
    if resume is not None:
        own: dict[str, object] = {
            "data": data,
            "model": model,
            "recipe": recipe,
            "epochs": epochs,
            "batch": batch,
        }
        own |= {"seed": seed, "name": name, "strict": strict, "settings": settings or None}
        given = [key for key, value in own.items() if value is not None]
        if given:
            raise ConfigError(
                f"a Run goes on with its own recipe: {', '.join(given)} cannot be given with resume"
            )
        return _resume(resume, device=device, data_root=data_root, notify=notify)
    word = _absolute(data or "digits")
    root = Path(data_root) if data_root is not None else cache_folder()
    config = find_recipe(recipe, word)
    config = _override(config, model, epochs, batch, device, seed, strict)
    config = replace(config, data=replace(config.data, root=str(root.absolute())))
    config = apply_settings(config, settings)
    config = replace(config, optimizer=resolved(config.optimizer))
    with stop_signals() as stop:
        check_run_name(name)
        check_out(Path(out))
        device = choose_device(config.device)
        dataset = load(config)
        for text in notes_of(dataset):
            notify(Noted(text=text))
        plan = choose_plan(config.plan, device)
        chosen = batch is not None or any(s.startswith("batch_size") for s in settings)
        if not chosen and config.batch_size > len(dataset.train):
            config = replace(config, batch_size=len(dataset.train))
            notify(Noted(text=f"the training pictures make one batch of {config.batch_size}"))
        check_batch_size(config, len(dataset.train))
        task = make_task(config, dataset)
        network = initial_network(config, dataset)
        stem = f"{dataset.name}-{config.model.name.rpartition(':')[2]}"
        folder = create_run_folder(Path(out), name, stem)
        try:
            folder.write_config(to_json(config), facts_of(dataset, task, plan))
            write_json(folder.env_file, environment(plan))
            material = Material(
                config=config, dataset=dataset, task=task, network=network, plan=plan
            )
            work(material, folder, notify, stop, resume=False)
        except BaseException:
            if not state_files(folder):
                folder.discard()
            raise
    return Run.open(folder.path)


def _absolute(word: str) -> str:
    """A dataset's name as it is; a folder as it can be found from anywhere."""
    if word in dataset_names() or not Path(word).exists():
        return word
    return str(Path(word).absolute())


def _resume(
    run: str | Path, *, device: str | None, data_root: str | Path | None, notify: Notify
) -> Run:
    """Goes on with a Run that was stopped or killed, and ends as if it had never been."""
    opened = Run.open(run)
    if opened.is_complete:
        raise RunError(
            f"{opened.path} is complete: {opened.config.epochs} epochs are done",
            "Train a longer one with --epochs.",
        )
    config = opened.config
    if data_root is not None:
        config = replace(config, data=replace(config.data, root=str(Path(data_root).absolute())))
    with stop_signals() as stop:
        dataset = load(config)
        plan = opened.plan(device)
        task = make_task(config, dataset)
        if facts_of(dataset, task, plan)["counts"] != opened.facts["counts"]:
            raise RunError(
                f"the dataset {dataset.name} has changed since {opened.path} began: expected "
                f"{opened.facts['counts']}, found {facts_of(dataset, task, plan)['counts']}"
            )
        network = initial_network(config, dataset)
        material = Material(config=config, dataset=dataset, task=task, network=network, plan=plan)
        work(material, RunFolder(opened.path), notify, stop, resume=True)
    return Run.open(opened.path)


def _override(
    config: Config,
    model: str | None,
    epochs: int | None,
    batch: int | None,
    device: str | None,
    seed: int | None,
    strict: bool | None,
) -> Config:
    if model is not None and model != config.model.name:
        config = replace(config, model=ModelConfig(name=model))
    changes = {"epochs": epochs, "batch_size": batch, "device": device, "seed": seed}
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
    if strict is not None:
        config = replace(config, data=replace(config.data, strict=strict))
    return config
