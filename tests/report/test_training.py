from typing import Any

from convolens.report.parts import Bar, Facts, Fold, Part, Picture, Section, Table, Text
from convolens.report.training import curve_parts, machine_section, plan_text

REFERENCE = {"device": "cpu", "precision": "float32", "channels_last": False}
FAST = {"device": "cpu", "precision": "bfloat16", "channels_last": True, "kernels": True}
ENV: dict[str, Any] = {
    "platform": "Linux",
    "processor": "x86_64",
    "cuda": None,
    "threads": 2,
    "plan": FAST,
    "batch_size": 64,
    "seconds": 0.5,
    "trials": [
        {"plan": REFERENCE, "seconds": 0.008, "accepted": True},
        {"plan": FAST, "seconds": 0.004, "accepted": True},
        {"plan": {**FAST, "compiled": True}, "seconds": None, "failure": "no compiler"},
        {"plan": {**FAST, "threads": 1}, "seconds": 0.001, "accepted": False},
    ],
}
EPOCHS = [
    {"epoch": float(i + 1), "seconds": 4.0, "wait_share": 0.25, "train_loss": 1.0} for i in range(3)
]


def tables(section: Section) -> dict[str, Table]:
    return {part.about: part for part in section.parts if isinstance(part, Table)}


def words(parts: tuple[Part, ...]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, Text))


def test_the_time_is_split_into_waiting_steps_and_the_rest() -> None:
    section = machine_section(EPOCHS, ENV, FAST, total_s=15.0)
    lines = [row.cells for row in tables(section)["Where the time went"].rows]
    assert lines == [
        ("waiting for pictures", "3.0 s", Bar(text="20.0 %", share=0.2)),
        ("steps: forward, backward, update", "9.0 s", Bar(text="60.0 %", share=0.6)),
        ("validation, test, saving, figures", "3.0 s", Bar(text="20.0 %", share=0.2)),
        ("in all", "15 s", ""),
    ]
    said = words(section.parts)
    assert "choosing the plan took 0.50 s" in said
    assert "More than a fifth of the steps' time went into waiting" in said


def test_validation_has_a_line_where_its_time_is_known() -> None:
    epochs = [{**row, "val_seconds": 0.5} for row in EPOCHS]
    section = machine_section(epochs, ENV, FAST, total_s=15.0)
    lines = [row.cells for row in tables(section)["Where the time went"].rows]
    assert lines[2:] == [
        ("validation", "1.5 s", Bar(text="10.0 %", share=0.1)),
        ("test, saving, figures", "1.5 s", Bar(text="10.0 %", share=0.1)),
        ("in all", "15 s", ""),
    ]


def test_of_a_resumed_run_nothing_is_invented() -> None:
    # The whole time is that since the resume, and less than the epochs took.
    section = machine_section(EPOCHS, ENV, FAST, total_s=5.0)
    lines = [row.cells[0] for row in tables(section)["Where the time went"].rows]
    assert lines == ["waiting for pictures", "steps: forward, backward, update", "in all"]
    assert "stopped and resumed" in words(section.parts)


def test_without_epochs_it_says_so() -> None:
    section = machine_section([], {}, FAST, total_s=None)
    assert "No epoch has told how long it took." in words(section.parts)
    assert "nothing was measured" in words(section.parts)
    facts = next(part for part in section.parts if isinstance(part, Facts))
    assert facts.items == (("plan", "cpu, channels-last, bfloat16, own kernels"),)


def test_every_trial_stands_beside_the_default() -> None:
    table = tables(machine_section(EPOCHS, ENV, FAST, None))["Plans that were tried"]
    assert [row.cells for row in table.rows] == [
        ("cpu, NCHW, float32", "8.00", "×1.00", "agrees"),
        ("cpu, channels-last, bfloat16, own kernels", "4.00", "×2.00", "taken"),
        ("cpu, channels-last, bfloat16, own kernels, compiled", "–", "–", "no compiler"),
        (
            "cpu, channels-last, bfloat16, own kernels, 1 threads",
            "1.00",
            "×8.00",
            "differs from the default by too much",
        ),
    ]
    assert [row.is_heading for row in table.rows] == [False, True, False, False]


def test_a_damaged_environment_is_no_obstacle() -> None:
    for trials in (None, 3, [1, {}], [{"plan": REFERENCE, "seconds": "fast"}]):
        section = machine_section(EPOCHS, {"trials": trials, "seconds": "x"}, {}, None)
        assert section.title == "Machine, plan and time"


def test_a_plan_in_words() -> None:
    assert plan_text({**REFERENCE, "micro_batch": 8, "threads": 4}) == (
        "cpu, NCHW, float32, 4 threads, 8 pictures at a time"
    )


def test_curves_with_their_numbers() -> None:
    figure, fold = curve_parts(EPOCHS)
    assert isinstance(figure, Picture)
    assert "learns its pictures by heart" in figure.look_for
    assert isinstance(fold, Fold)
    assert fold.title == "Every epoch in numbers"
    (table,) = fold.parts
    assert isinstance(table, Table)
    assert [title for title, _ in table.columns] == ["epoch", "training loss"]
    assert table.rows[1].cells == ("2", "1.0000")


def test_of_a_thousand_epochs_not_all_are_listed() -> None:
    _, fold = curve_parts([{"epoch": float(i + 1), "train_loss": 1.0} for i in range(1001)])
    assert isinstance(fold, Fold)
    assert fold.title == "Every epoch whose number 3 divides in numbers"
    (table,) = fold.parts
    assert isinstance(table, Table)
    assert [row.cells[0] for row in (table.rows[0], table.rows[-1])] == ["3", "1001"]
