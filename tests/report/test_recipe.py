from typing import Any

from convolens.recipes.classify import digits
from convolens.report.parts import Code, Facts, Fold, Section, Table, Text
from convolens.report.recipe import recipe_section

FACTS: dict[str, Any] = {
    "dataset": "digits",
    "format": {"channels": 1, "size": [32, 32]},
    "counts": {"train": 1293, "val": 145, "test": 359},
    "task": {"class_names": [str(i) for i in range(14)]},
    "notes": ["no test folder: 'val' is kept for the test"],
    "problems": [{"where": "a/b.png", "why": "is cut off"}],
}


def section_of(**changes: Any) -> Section:
    env = {"torch": "2.15.0", "python": "3.11.7"}
    config = digits("digits")
    return recipe_section(config, FACTS | changes, env, "convolens train digits", is_exact=False)


def test_it_says_what_was_trained_and_how_to_repeat_it() -> None:
    section = section_of()
    facts = dict(next(part for part in section.parts if isinstance(part, Facts)).items)
    assert facts["data"] == "digits: 14 classes, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"
    assert facts["pictures"] == "1,293 training, 145 validation, 359 test"
    assert facts["shown as"] == "grey, 32×32 px"
    assert facts["network"] == "lenet5"
    assert "rotation 8" in facts["augmentation"]
    texts = [part.text for part in section.parts if isinstance(part, Text)]
    assert any("run with python 3.11.7, torch 2.15.0." in text for text in texts)
    assert any("Not all of this Run's configuration can be said" in text for text in texts)
    assert "no test folder: 'val' is kept for the test" in texts
    assert Code(text="convolens train digits") in section.parts


def test_pictures_that_could_not_be_read_are_named() -> None:
    folds = {part.title: part for part in section_of().parts if isinstance(part, Fold)}
    (table,) = folds["1 picture could not be read and took no part"].parts
    assert isinstance(table, Table)
    assert table.rows[0].cells == ("a/b.png", "is cut off")
    many = section_of(problems=[FACTS["problems"][0]] * 250).parts
    fold = next(p for p in many if isinstance(p, Fold) and p.title.startswith("250 pictures"))
    assert fold.parts[-1] == Text(text="… and 50 more in config.json")


def test_damaged_facts_are_passed_over() -> None:
    section = section_of(notes=None, problems=7)
    assert [p.title for p in section.parts if isinstance(p, Fold)] == [
        "Every field of the configuration"
    ]
