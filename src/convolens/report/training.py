"""How training went, on what machine, and where its time went."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from convolens.report.numbers import metric_text, number_in, percent, seconds_text
from convolens.report.parts import (
    Bar,
    Facts,
    Fold,
    Heading,
    Part,
    Row,
    Section,
    Side,
    Table,
    Text,
    rows,
)
from convolens.report.picture import picture
from convolens.visual.curves import curves

Rows = Sequence[Mapping[str, float]]
_MOST_ROWS = 500
_SHOWN = (
    *("train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_miou", "val_map"),
    *("val_map50", "lr", "images_per_s"),
)
_WORDS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "train_accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
    "val_miou": "validation mean IoU",
    "val_map": "validation mAP@[.5:.95]",
    "val_map50": "validation mAP@.5",
    "lr": "learning rate",
    "images_per_s": "images/s",
}


def curve_parts(epochs: Rows) -> list[Part]:
    """Loss and accuracy against the epoch, drawn and in numbers."""
    look_for = (
        "a validation loss that rises while the training loss falls (the network learns its "
        "pictures by heart), two losses that are high and level (it is too small, or the rate is "
        "wrong), and jumps (the rate is too high). Validation may be better than training: only "
        "training has augmentation, and its numbers are means over the epoch."
    )
    parts: list[Part] = [picture(curves(epochs), look_for=look_for)]
    names = [
        name for name in _SHOWN if any(isfinite(row.get(name, float("nan"))) for row in epochs)
    ]
    step = -(-len(epochs) // _MOST_ROWS) or 1
    shown = [
        row for place, row in enumerate(epochs, 1) if place % step == 0 or place == len(epochs)
    ]
    lines = [
        [f"{row.get('epoch', float('nan')):g}", *(_value(name, row) for name in names)]
        for row in shown
    ]
    table = Table(
        about="Every epoch in numbers",
        columns=(("epoch", "right"), *((_WORDS[name], "right") for name in names)),
        rows=rows(lines),
    )
    which = "Every epoch" if step == 1 else f"Every epoch whose number {step} divides"
    return [*parts, Fold(title=f"{which} in numbers", parts=(table,))]


def _value(name: str, row: Mapping[str, float]) -> str:
    value = row.get(name, float("nan"))
    if name == "lr" and isfinite(value):
        return f"{value:.2e}"
    if name == "images_per_s" and isfinite(value):
        return f"{value:,.0f}"
    return metric_text(name, value)


def machine_section(
    epochs: Rows, env: Mapping[str, Any], plan: Mapping[str, Any], total_s: float | None
) -> Section:
    """The machine, the plan and what was measured to choose it, and where the time went.

    Args:
        epochs: rows of `metrics.csv`; none where it cannot be read.
        env: as `env.json` holds it; empty where it cannot be read.
        plan: as `config.json` holds it.
        total_s: of the whole training; None where it did not come to its end.
    """
    parts: list[Part] = [Facts(items=_machine(env, plan)), *_trials(env)]
    return Section(title="Machine, plan and time", parts=(*parts, *_time(epochs, env, total_s)))


def _machine(env: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    words = (
        ("system", "platform"),
        ("processor", "processor"),
        ("GPU", "cuda"),
        ("threads", "threads"),
    )
    known = [(word, str(env[key])) for word, key in words if env.get(key) is not None]
    return (*known, ("plan", plan_text(plan)))


def plan_text(plan: Mapping[str, Any]) -> str:
    """A plan in words.

    Example:
        >>> plan_text({"device": "cpu", "precision": "float32", "channels_last": True})
        'cpu, channels-last, float32'
    """
    words = [
        str(plan.get("device", "?")),
        "channels-last" if plan.get("channels_last") else "NCHW",
        str(plan.get("precision", "?")),
        *(["own kernels"] if plan.get("kernels") else []),
        *(["compiled"] if plan.get("compiled") else []),
        *([f"{plan['threads']} threads"] if plan.get("threads") else []),
        *([f"{plan['micro_batch']} pictures at a time"] if plan.get("micro_batch") else []),
    ]
    return ", ".join(words)


def _trials(env: Mapping[str, Any]) -> list[Part]:
    """What was measured to choose the plan; the first trial is PyTorch's default."""
    given = env.get("trials")
    trials = [t for t in given if isinstance(t, dict)] if isinstance(given, list) else []
    trials = [t for t in trials if isinstance(t.get("plan"), dict)]
    if not trials:
        return [Text(text="The plan is PyTorch's default; nothing was measured.", tone="soft")]
    first = number_in(trials[0], "seconds")
    lines = []
    for trial in trials:
        seconds = number_in(trial, "seconds")
        speed = f"×{first / seconds:.2f}" if first and seconds else "–"
        is_plan = trial["plan"] == env.get("plan")
        if is_plan:
            verdict = "taken"
        elif trial.get("accepted"):
            verdict = "agrees"
        else:
            verdict = str(trial.get("failure") or "differs from the default by too much")
        milliseconds = "–" if seconds is None else f"{1000 * seconds:.2f}"
        cells = (plan_text(trial["plan"]), milliseconds, speed, verdict)
        lines.append(Row(cells=cells, is_heading=is_plan))
    came = "by an earlier training of the same shape" if env.get("from_cache") else "beforehand"
    about = (
        f"Plans that were tried {came}: one forward and backward pass of "
        f"{env.get('batch_size', '?')} pictures, against PyTorch's default in the first line."
    )
    columns: tuple[tuple[str, Side], ...] = (
        ("plan", "left"),
        ("ms", "right"),
        ("speed", "right"),
        ("", "left"),
    )
    return [
        Heading(text="Plans that were tried"),
        Text(text=about, tone="soft"),
        Table(about="Plans that were tried", columns=columns, rows=tuple(lines)),
    ]


def _time(epochs: Rows, env: Mapping[str, Any], total_s: float | None) -> list[Part]:
    known = [row for row in epochs if isfinite(row.get("seconds", float("nan")))]
    heading = Heading(text="Where the time went")
    if not known:
        return [heading, Text(text="No epoch has told how long it took.", tone="warning")]
    steps_s = sum(row["seconds"] for row in known)
    waited_s = sum(row["seconds"] * _finite(row.get("wait_share", 0.0)) for row in known)
    items = [
        ("waiting for pictures", waited_s),
        ("steps: forward, backward, update", steps_s - waited_s),
    ]
    remarks = []
    validated_s = sum(_finite(row.get("val_seconds", 0.0)) for row in known)
    if validated_s:
        items.append(("validation", validated_s))
    rest_s = None if total_s is None else total_s - steps_s - validated_s
    if rest_s is not None and rest_s >= 0:
        rest = "test, saving, figures" if validated_s else "validation, test, saving, figures"
        items.append((rest, rest_s))
    elif rest_s is not None:
        remarks.append(
            "The Run was stopped and resumed; what the rest took before that was not kept."
        )
    whole_s = sum(seconds for _, seconds in items)
    chosen_s = number_in(env, "seconds")
    if chosen_s and not env.get("from_cache"):
        remarks.append(f"Before the first step, choosing the plan took {seconds_text(chosen_s)}.")
    if steps_s and waited_s > 0.2 * steps_s:
        remarks.append(
            "More than a fifth of the steps' time went into waiting for pictures: the processor "
            "or the disk cannot decode and augment them as fast as the network learns."
        )
    lines = [
        (
            name,
            seconds_text(seconds),
            Bar(text=percent(seconds / (whole_s or 1), 1), share=seconds / (whole_s or 1)),
        )
        for name, seconds in items
    ]
    table = Table(
        about="Where the time went",
        columns=(("", "left"), ("time", "right"), ("share", "right")),
        rows=rows([*lines, ("in all", seconds_text(whole_s), "")]),
    )
    return [heading, table, *(Text(text=text, tone="soft") for text in remarks)]


def _finite(value: float) -> float:
    return value if isfinite(value) else 0.0
