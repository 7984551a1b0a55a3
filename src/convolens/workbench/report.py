"""`report`: a Run as one HTML file that can be mailed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convolens import __version__
from convolens.report.html import html
from convolens.report.network import network_section
from convolens.report.numbers import metric_text, number_in, percent, seconds_text
from convolens.report.parts import Facts, Heading, Part, Report, Section, Text
from convolens.report.picture import picture
from convolens.report.recipe import recipe_section
from convolens.report.results import (
    calibration_part,
    class_parts,
    confusion_part,
    metric_parts,
    mistakes_part,
)
from convolens.report.sight import (
    Example,
    chosen_examples,
    filter_parts,
    map_parts,
    saliency_parts,
)
from convolens.report.training import curve_parts, machine_section
from convolens.train.events import Noted, Notify
from convolens.train.files import read_bytes, write_text
from convolens.visual.patches import layers_to_cut
from convolens.workbench.gathered import Evaluated, Gathered, Lacking, gather, tried
from convolens.workbench.inside import Subject, embedding_figures, flow_of, patch_figure
from convolens.workbench.repeat import repeat
from convolens.workbench.report_tasks import OF_CLASSES, task_lead, task_results, task_sight
from convolens.workbench.run import Run

_FEW_STEPS, _MANY_STEPS = 16, 50
_SEARCH_MACS = 20e9  # a report is made at the end of every training
_UNITS, _PATCHES = 6, 8
_FLOW_PX = 940.0
_LARGE_MACS = 200_000_000  # of one picture; beyond, an integral of 50 steps would take a minute


def report(
    run: str | Path | Run,
    *,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
) -> Path:
    """Writes all that a Run has to say into one HTML file: no script, no request, under 5 MB.

    The test is repeated for what the Run does not keep. What cannot be had, because the pictures
    are gone or a file is damaged, is named where it would stand.

    Args:
        run: a Run or its folder, also one that has not come to its end.
        out: the file; None is `report.html` in the Run.
        data_root: where named datasets are; None is where they were.
        device: "cpu" or "cuda"; None is the Run's.
    Returns: the file.
    Raises:
        RunError: when the folder is no Run, its configuration is damaged, or the file cannot be
            written.
        UnavailableError: when the device is wanted and there is none.
    """
    opened = Run.open(run)
    path = opened.path / "report.html" if out is None else Path(out)
    write_text(path, html(report_of(gather(opened, data_root, device), data_root)))
    return path


def report_at_end(run: Run, device: str | None, notify: Notify) -> Path | None:
    """Writes the report of a finished training; where it cannot be written, a note says why.

    The training is done and saved, whatever a report fails of.

    Args:
        notify: is told where the report is, or why there is none.
    """
    written = tried(lambda: report(run, device=device))
    if isinstance(written, Lacking):
        notify(Noted(text=f"the report could not be written: {written.why}"))
        return None
    notify(Noted(text=f"The report is {written}; open it in a browser."))
    return written


def report_of(found: Gathered, data_root: str | Path | None = None) -> Report:
    """The report on what a Run holds.

    Args:
        data_root: where named datasets are; None is where they were.
    """
    run = found.run
    env = {} if isinstance(found.env, Lacking) else found.env
    command = repeat(run)
    now = datetime.now().astimezone()
    return Report(
        title=f"{run.config.model.name} on {run.facts['dataset']}",
        lead=_lead(found),
        sections=(
            Section(title="In short", parts=(Facts(items=_short(found)),)),
            recipe_section(run.config, run.facts, env, command.text, is_exact=command.is_exact),
            _network(found),
            Section(title="Training", parts=tuple(_curves(found))),
            Section(title="The test", parts=tuple(_results(found, data_root))),
            Section(title="What it looks at", parts=tuple(_sight(found, data_root))),
            _machine(found),
        ),
        foot=f"Run {run.path.absolute().name}, written by convolens {__version__} "
        f"on {now:%Y-%m-%d at %H:%M}.",
    )


def _sorry(lacking: Lacking) -> Text:
    return Text(text=f"This could not be made: {lacking.why}", tone="warning")


def _under(title: str, build: Callable[[], list[Part]]) -> list[Part]:
    """Parts below a heading; where they cannot be had, it says why."""
    parts = tried(build)
    return [Heading(text=title), *([_sorry(parts)] if isinstance(parts, Lacking) else parts)]


def _lead(found: Gathered) -> str:
    epochs = 0 if isinstance(found.epochs, Lacking) else len(found.epochs)
    wanted = found.run.config.epochs
    if isinstance(found.test, Lacking):
        return f"This training is not complete: {epochs} of {wanted} epochs are done."
    metrics, task = found.test["metrics"], found.run.config.task
    accuracy = number_in(metrics, "accuracy")
    right = "" if accuracy is None else f"{percent(accuracy)} of the test pictures are right "
    if task != "classify":
        right = task_lead(task, {name: number_in(metrics, name) for name in metrics})
    after = f"after {epochs} epoch{'s' * (epochs != 1)}" if epochs else "after training"
    seconds = number_in(found.test, "seconds")
    took = "" if seconds is None else f", {seconds_text(seconds)} in all"
    return f"{right}{after}{took}."


def _short(found: Gathered) -> tuple[tuple[str, str], ...]:
    items: list[tuple[str, str]] = []
    if not isinstance(found.test, Lacking):
        items += _metric_items(found.test["metrics"], "test ")
        items.append(("best epoch", f"{found.test.get('epoch', '?')}"))
    if not isinstance(found.graph, Lacking):
        totals = found.graph.totals
        items.append(("parameters", f"{totals.params:,}"))
        items.append(("MACs of one picture", f"{totals.macs:,}"))
    if not isinstance(found.epochs, Lacking) and found.epochs:
        speed = number_in(found.epochs[-1], "images_per_s")
        items += [] if speed is None else [("training speed", f"{speed:,.0f} pictures/s")]
    return tuple(items)


def _metric_items(metrics: Mapping[str, Any], word: str) -> list[tuple[str, str]]:
    # Those of single classes stand in a table of their own.
    whole = [name for name in metrics if not name.startswith(OF_CLASSES)]
    known = [(name, number_in(metrics, name)) for name in whole]
    return [
        (word + name.replace("_", " "), metric_text(name, value))
        for name, value in known
        if value is not None
    ]


def _network(found: Gathered) -> Section:
    graph = found.graph
    section = graph if isinstance(graph, Lacking) else tried(lambda: network_section(graph))
    if isinstance(section, Lacking):
        return Section(title="The network", parts=(_sorry(section),))
    return section


def _curves(found: Gathered) -> list[Part]:
    epochs = found.epochs
    parts = epochs if isinstance(epochs, Lacking) else tried(lambda: curve_parts(epochs))
    return [_sorry(parts)] if isinstance(parts, Lacking) else parts


def _machine(found: Gathered) -> Section:
    total_s = None if isinstance(found.test, Lacking) else number_in(found.test, "seconds")
    epochs = [] if isinstance(found.epochs, Lacking) else found.epochs
    env = {} if isinstance(found.env, Lacking) else found.env
    section = machine_section(epochs, env, found.run.facts["plan"], total_s)
    if isinstance(found.env, Lacking):
        return replace(section, parts=(_sorry(found.env), *section.parts))
    return section


def _results(found: Gathered, data_root: str | Path | None) -> list[Part]:
    tested, names = found.tested, found.run.task.class_names
    if found.run.config.task != "classify":
        kept: list[Part] = []
        if not isinstance(found.test, Lacking):
            kept = [Facts(items=tuple(_metric_items(found.test["metrics"], "")))]
        return [*kept, *task_results(found, data_root, _under)]
    if isinstance(tested, Lacking):
        if isinstance(found.test, Lacking):
            return [_sorry(tested)]
        metrics = Facts(items=tuple(_metric_items(found.test["metrics"], "")))
        return [metrics, _sorry(tested)]
    meter = tested.meter
    matrix = meter.confusion.numpy()
    parts = [*metric_parts(meter.metrics(), matrix), *_remarks(found, tested)]
    if meter.num_seen == 0:
        return [*parts, Text(text="None of the test pictures can be read.", tone="warning")]
    seen = meter.predicted >= 0
    right = (meter.predicted == tested.labels)[seen].numpy()
    sure = meter.probability[seen].numpy()

    def mistakes() -> list[Part]:
        figures = found.run.task.figures(meter, tested.split)
        return [mistakes_part(figure) for figure in figures if figure.name == "mistakes"]

    return [
        *parts,
        *class_parts(matrix, names),
        *_under("Which class is taken for which", lambda: [confusion_part(matrix, names)]),
        *_under("Is it right as often as it is sure?", lambda: [calibration_part(sure, right)]),
        *_under("The worst mistakes", mistakes),
    ]


def _remarks(found: Gathered, tested: Evaluated) -> list[Part]:
    """Where these numbers come from, if they are not those of the training."""
    if isinstance(found.test, Lacking):
        text = "The training is not complete; this is the test of its best weights until now."
        return [Text(text=text, tone="warning")]
    then, now = number_in(found.test["metrics"], "accuracy"), tested.meter.metrics()["accuracy"]
    if then is None or abs(then - now) < 1e-9:
        return []
    text = (
        f"At the end of training the accuracy was {percent(then)}; repeated for this report it is "
        f"{percent(now)}. Another machine or plan may turn a picture or two; a greater difference "
        "says that the pictures or the weights are not the same any more."
    )
    return [Text(text=text, tone="warning")]


def _sight(found: Gathered, data_root: str | Path | None) -> list[Part]:
    network, tested = found.network, found.tested
    if isinstance(network, Lacking):
        return [_sorry(network)]
    examples = tested if isinstance(tested, Lacking) else tried(lambda: _examples(tested))
    if not isinstance(examples, Lacking) and not examples:
        examples = Lacking("none of the test pictures can be read")
    first = None if isinstance(examples, Lacking) else examples[0].pixels
    file = found.run.folder.figures / "filters.png"

    def first_filters() -> list[Part]:
        return filter_parts(network, first, read_bytes(file) if file.is_file() else None)

    parts = _under("The first filters", first_filters)
    if found.run.config.task != "classify":
        return [*parts, *task_sight(found, data_root, _under)]
    if isinstance(tested, Lacking) or isinstance(examples, Lacking):
        missing = next(each for each in (tested, examples) if isinstance(each, Lacking))
        title = "Strongest patches, feature maps, saliency and embedding"
        return [*parts, Heading(text=title), _sorry(missing)]
    macs = 0 if isinstance(found.graph, Lacking) else found.graph.totals.macs
    subject = Subject(
        net=network.to(memory_format=torch.contiguous_format),
        task=found.run.classifier,
        format=found.run.format,
        device=found.device,
        macs=macs,
        search_macs=_SEARCH_MACS,
    )
    return [
        *parts,
        *_under("What its units look for", lambda: _patches(subject, tested)),
        *_under("A picture on its way", lambda: _flow(subject, found, examples[0])),
        *_under("What speaks for the class that it says", lambda: _saliency(subject, examples)),
        *_under(
            "Feature maps",
            lambda: map_parts(network, _inputs(subject, examples[:1]), examples[0]),
        ),
        *_under("Which pictures are alike to it", lambda: _embedding(subject, tested)),
        Text(text="The same and more, larger: convolens look RUN", tone="soft"),
        Text(text="The same of any picture: convolens look RUN PICTURE", tone="soft"),
    ]


def _inputs(subject: Subject, examples: Sequence[Example]) -> Tensor:
    return subject.prepare(torch.from_numpy(np.stack([example.pixels for example in examples])))


def _patches(subject: Subject, tested: Evaluated) -> list[Part]:
    """The strongest patches of the first layer and a deeper one."""
    if not subject.layers.spatial:
        return [Text(text="The network has no layer with feature maps.", tone="soft")]
    return [
        picture(patch_figure(subject, tested, layer, most=_UNITS, count=_PATCHES))
        for layer in layers_to_cut(subject.layers)
    ]


def _flow(subject: Subject, found: Gathered, example: Example) -> list[Part]:
    if isinstance(found.graph, Lacking):
        return [_sorry(found.graph)]
    x = _inputs(subject, [example])
    with torch.inference_mode():
        output: Tensor = subject.net(x.clone())
    shares = output[0].float().softmax(0).tolist()
    classes = list(zip(subject.task.class_names, shares, strict=True))
    drawing = flow_of(subject.net, x, example.pixels, found.graph, classes, width_px=_FLOW_PX)
    return [Text(text=f"This is {example.name}."), picture(drawing.figure)]


def _saliency(subject: Subject, examples: Sequence[Example]) -> list[Part]:
    steps = _FEW_STEPS if subject.macs > _LARGE_MACS else _MANY_STEPS
    x = _inputs(subject, examples)
    return saliency_parts(subject.net, x, examples, subject.task.class_names, steps)


def _embedding(subject: Subject, tested: Evaluated) -> list[Part]:
    return [picture(figure) for figure in embedding_figures(subject, tested, ("pca",))]


def _examples(tested: Evaluated) -> list[Example]:
    meter, split = tested.meter, tested.split
    chosen = chosen_examples(meter.predicted, meter.probability, tested.labels)
    if not chosen:
        return []
    places = torch.tensor([place for _, place in chosen], dtype=torch.int64)
    return [
        Example(
            why=why,
            name=str(split.names[place]),
            pixels=pixels,
            true=int(tested.labels[place]),
            predicted=int(meter.predicted[place]),
            probability=float(meter.probability[place]),
        )
        for (why, place), pixels in zip(chosen, split.pictures.batch(places).numpy(), strict=True)
    ]
