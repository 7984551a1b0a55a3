"""`train`: a dataset, a network and a recipe become a Run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from convolens.data.base import Dataset
from convolens.data.registry import dataset_names, default_task
from convolens.data.root import cache_folder
from convolens.errors import ConfigError, DataError, RunError
from convolens.models.notation import is_notation
from convolens.recipes.registry import find_recipe
from convolens.tasks.base import Task
from convolens.train.board import check_tensorboard
from convolens.train.bounds import check_word
from convolens.train.choice import Choice
from convolens.train.config import Config, ModelConfig
from convolens.train.distributed import ALONE, Processes, check_share
from convolens.train.events import Noted, Notify, ignore
from convolens.train.files import write_json
from convolens.train.job import check_job
from convolens.train.optimizer import resolved
from convolens.train.plan import choose_device, plan_from_json
from convolens.train.run import RunFolder, check_out, check_run_name, create_run_folder
from convolens.train.settings import apply_settings, to_json
from convolens.train.state import state_files
from convolens.train.stop import stop_signals
from convolens.workbench.facts import environment, facts_of, notes_of
from convolens.workbench.material import (
    Material,
    initial_network,
    initialize_from_pictures,
    load,
    load_initial_weights,
)
from convolens.workbench.network import IMAGENET, task_of
from convolens.workbench.planning import choose_plan
from convolens.workbench.proposals import with_proposals
from convolens.workbench.run import Run
from convolens.workbench.tasks import FROM_JSON, make_task
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
    weights: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: str | Path | None = None,
    report: bool = True,
    notify: Notify = ignore,
    processes: Processes = ALONE,
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
        weights: a weights file, or a Run whose best weights training begins with, or "imagenet"
            for those that torchvision publishes; a head for another number of classes begins anew.
        settings: "key=value" for any field of the recipe, such as "optimizer.lr=0.05".
        resume: a stopped Run to go on with; it has its own recipe, so that beside it only
            `device`, `data_root`, `report`, `notify` and `processes` may be given.
        report: write `report.html` at the end; where it cannot be written, a note says why.
        notify: is told of every step, epoch and note.
        processes: which of several processes this one is; all of them call this function with
            the same words, inside `convolens.train.distributed.joined`.
    Returns: the Run, trained and tested.
    Raises:
        ConvolensError: when a word, a value or the data is wrong; no Run is left behind.
        StoppedError: when Ctrl-C or SIGTERM stopped it; the Run can be resumed.
    Example:
        >>> run = train("digits", model="lenet5", epochs=1)  # doctest: +SKIP
    """
    notify = notify if processes.is_first else ignore
    if resume is not None:
        own: dict[str, object] = {
            "data": data,
            "model": model,
            "recipe": recipe,
            "epochs": epochs,
            "batch": batch,
        }
        own |= {"seed": seed, "name": name, "strict": strict, "settings": settings or None}
        own |= {"weights": weights}
        given = [key for key, value in own.items() if value is not None]
        if given:
            raise ConfigError(
                f"a Run goes on with its own recipe: {', '.join(given)} cannot be given with resume"
            )
    else:
        check_run_name(name)
        resume = _lost(Path(out), name, processes)
    if resume is not None:
        run = _resume(
            resume, device=device, data_root=data_root, notify=notify, processes=processes
        )
        return _reported(run, device, notify, processes) if report else run
    config = configure(
        data,
        model=model,
        recipe=recipe,
        epochs=epochs,
        batch=batch,
        device=device,
        seed=seed,
        data_root=data_root,
        strict=strict,
        weights=weights,
        settings=settings,
    )
    chosen = batch is not None or any(s.startswith("batch_size") for s in settings)
    check_out(Path(out))
    material, choice = prepare(config, notify, shrink_batch=not chosen, processes=processes)
    config, dataset = material.config, material.dataset
    facts = facts_of(dataset, material.task, choice.plan)
    # Until there is a Run to save, a signal ends training at once.
    with stop_signals() as stop:
        stem = f"{dataset.name}-{_short_name(config.model.name)}"
        folder = _begin_folder(Path(out), name, stem, processes)
        try:
            if processes.is_first:
                folder.write_config(to_json(config), facts)
                write_json(folder.env_file, environment(choice))
            work(material, folder, notify, stop, resume=False, processes=processes)
        except BaseException:
            if processes.is_first and not state_files(folder):
                folder.discard()
            raise
    run = Run.open(folder.path) if processes.is_first else Run(folder, config, facts)
    return _reported(run, device, notify, processes) if report else run


def _reported(run: Run, device: str | None, notify: Notify, processes: Processes) -> Run:
    """The same Run, with a report."""
    from convolens.workbench.report import report_at_end  # which repeats trainings with this file

    if processes.is_first:
        report_at_end(run, device, notify)
    return run


def _lost(out: Path, name: str | None, processes: Processes) -> Path | None:
    """The Run with which processes go on that were started again because one was lost."""
    if name is None or not processes.restarts:
        return None
    folder = RunFolder(out / name)
    begun = processes.any(folder.config_file.is_file())
    if not begun and processes.is_first:
        folder.discard()
    return folder.path if begun else None


def _short_name(model: str) -> str:
    """What a MODEL word adds to a folder's name; a line of notation has no name of its own."""
    return "net" if is_notation(model) else Path(model.rpartition(":")[2]).name


def _begin_folder(out: Path, name: str | None, stem: str, processes: Processes) -> RunFolder:
    """The new Run's folder, which process 0 makes and names."""
    path = str(create_run_folder(out, name, stem).path) if processes.is_first else ""
    return RunFolder(
        Path(
            processes.broadcast(path.encode(errors="surrogateescape")).decode(
                errors="surrogateescape"
            )
        )
    )


def configure(
    data: str | None,
    *,
    model: str | None,
    recipe: str | None,
    epochs: int | None,
    batch: int | None,
    device: str | None,
    seed: int | None,
    data_root: str | Path | None,
    strict: bool | None,
    weights: str | Path | None,
    settings: Sequence[str],
) -> Config:
    """The complete configuration of the words that `train` takes."""
    word = _absolute(data or "digits")
    root = Path(data_root) if data_root is not None else cache_folder()
    config = find_recipe(recipe, word, wanted_task(word, model, settings))
    config = _override(config, model, epochs, batch, device, seed, strict)
    config = replace(config, data=replace(config.data, root=str(root.absolute())))
    config = apply_settings(config, settings)
    if weights is not None:
        config = replace(config, weights=str(weights))
    if config.weights not in (None, IMAGENET):
        config = replace(config, weights=str(Path(config.weights).absolute()))
    named = task_of(config.model.name)
    if named not in (None, config.task):
        raise ConfigError(
            f"the network {config.model.name} is there to {named}, the training to {config.task}",
            "Leave out --recipe, or choose another network: convolens models.",
        )
    return replace(config, optimizer=resolved(config.optimizer))


def wanted_task(data: str, model: str | None, settings: Sequence[str]) -> str:
    """The task of a training: as a setting says, as the network needs, or as the data is for."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        if equals and key.strip() == "task":
            check_word("task", value.strip(), tuple(FROM_JSON))
            return value.strip()
    named = None if model is None else task_of(_absolute_file(model))
    return named or default_task(data)


def prepare(
    config: Config, notify: Notify, *, shrink_batch: bool, processes: Processes = ALONE
) -> tuple[Material, Choice]:
    """All that a training of a configuration works on, and how its plan was chosen.

    Args:
        notify: is told of what a person should know before training begins.
        shrink_batch: whether a batch may be made as small as a small dataset.
    """
    if config.tensorboard:
        check_tensorboard()
    device = choose_device(config.device)
    dataset = _load_together(config, notify, processes)
    for text in notes_of(dataset):
        notify(Noted(text=text))
    if shrink_batch and config.batch_size > len(dataset.train):
        config = replace(config, batch_size=len(dataset.train))
        notify(Noted(text=f"the training pictures make one batch of {config.batch_size}"))
    check_job(config, len(dataset.train), has_val=dataset.val is not None)
    check_share(processes, config.batch_size, config.accumulate)
    task = make_task(config, dataset)
    network = initial_network(config, dataset)
    with processes.one_first():
        dataset = with_proposals(dataset, network, notify)
    initialize_from_pictures(network, dataset, task)
    load_initial_weights(network, config, notify)
    choice = _choose_together(config, dataset, task, network, device, processes)
    notify(Noted(text=choice.describe()))
    material = Material(
        config=config, dataset=dataset, task=task, network=network, plan=choice.plan
    )
    return material, choice


def _load_together(config: Config, notify: Notify, processes: Processes) -> Dataset:
    """The dataset of a configuration, the same one in every process.

    Raises:
        DataError: when one process has found other data than process 0.
    """
    if config.data.name in dataset_names():  # which may have to be downloaded
        with processes.one_first():
            dataset = load(config, notify)
    else:
        dataset = load(config, notify)
    found = {"classes": dataset.class_names, "train": len(dataset.train), "test": len(dataset.test)}
    own = json.dumps(found).encode()
    if processes.broadcast(own) != own:
        raise DataError(
            f"process {processes.rank} has found other data than process 0: {dataset.name} has "
            f"{len(dataset.train)} training and {len(dataset.test)} test pictures of "
            f"{len(dataset.class_names)} classes here",
            "Every machine needs the same pictures.",
        )
    return dataset


def _choose_together(
    config: Config,
    dataset: Dataset,
    task: Task,
    network: nn.Module,
    device: str,
    processes: Processes,
) -> Choice:
    """The plan that process 0 chooses, since two measurements may differ."""
    if not processes.is_first:
        return Choice(plan=plan_from_json(json.loads(processes.broadcast(b"")), device))
    choice = choose_plan(config, dataset, task, network, device)
    processes.broadcast(json.dumps(dict(choice.plan.to_json())).encode())
    return choice


def _absolute(word: str) -> str:
    """A dataset's name as it is; a folder as it can be found from anywhere."""
    is_pattern = "{" in word
    if word in dataset_names() or not (Path(word).exists() or is_pattern):
        return word
    return str(Path(word).absolute())


def _absolute_file(model: str) -> str:
    """FILE.py:NAME with the file as it can be found from anywhere; another MODEL word as it is."""
    file, colon, name = model.rpartition(":")
    is_file = colon and file.endswith(".py") and Path(file).is_file()
    return f"{Path(file).absolute()}:{name}" if is_file else model


def _resume(
    run: str | Path,
    *,
    device: str | None,
    data_root: str | Path | None,
    notify: Notify,
    processes: Processes,
) -> Run:
    """Goes on with a Run that was stopped or killed, and ends as if it had never been."""
    opened = Run.open(run)
    if opened.is_complete:
        if processes.restarts:  # the process that was lost had nothing left to do
            return opened
        raise RunError(
            f"{opened.path} is complete: {len(opened.rows)} epochs are done",
            "Train a longer one with --epochs.",
        )
    config = opened.config
    if config.tensorboard:
        check_tensorboard()
    if data_root is not None:
        config = replace(config, data=replace(config.data, root=str(Path(data_root).absolute())))
    check_share(processes, config.batch_size, config.accumulate)
    dataset = _load_together(config, notify, processes)
    plan = opened.plan(device)
    task = make_task(config, dataset)
    if facts_of(dataset, task, plan)["counts"] != opened.facts["counts"]:
        raise RunError(
            f"the dataset {dataset.name} has changed since {opened.path} began: expected "
            f"{opened.facts['counts']}, found {facts_of(dataset, task, plan)['counts']}"
        )
    network = initial_network(config, dataset)
    with processes.one_first():
        dataset = with_proposals(dataset, network, notify)
    if not state_files(opened.folder):
        initialize_from_pictures(network, dataset, task)
        load_initial_weights(network, config, notify)
    material = Material(config=config, dataset=dataset, task=task, network=network, plan=plan)
    if processes.is_first:
        opened.folder.repair()
    with stop_signals() as stop:
        work(material, opened.folder, notify, stop, resume=True, processes=processes)
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
    word = _absolute_file(model or config.model.name)
    if word != config.model.name:
        config = replace(config, model=ModelConfig(name=word))
    changes = {"epochs": epochs, "batch_size": batch, "device": device, "seed": seed}
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
    if strict is not None:
        config = replace(config, data=replace(config.data, strict=strict))
    return config
