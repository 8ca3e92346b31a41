"""Sections that fail, lack something, or were made before."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from acf_jax.report import runner
from acf_jax.report.context import Context, Options
from acf_jax.report.section import MissingPieceError, Section
from acf_jax.surveys.known import SURVEYS
from acf_jax.surveys.matching import Matched
from tests.acf_jax.report.report_by_hand import GATHERED


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setattr(runner.provenance, "gather", lambda context, command: GATHERED)
    dataset = SimpleNamespace(
        name="smss_stamps", config="mock", fingerprint="f" * 64, fields=("true_teff",), n_examples=lambda split: 9
    )
    sidecar = {"config": {}, "dataset": {"fingerprint": "f" * 64}}
    trained = SimpleNamespace(sidecar=sidecar, step=7, targets=("teff",))
    return Context(dataset, {"ACF": trained}, tmp_path, Options(progress=False))


class Sections:
    """Sections that count how often they are made."""

    def __init__(self):
        self.made = []

    def drawn(self, context):
        self.made.append("drawn")
        figure = context.save(Figure(figsize=(1, 1)), "dot", "A dot.")
        return Section("precision", "Drawn", ("It is 12 K.",), figures=(figure,), values={"std": 12.0})

    def lacking(self, context):
        self.made.append("lacking")
        raise MissingPieceError("There is no tea: `brew` makes some.")

    def failing(self, context):
        self.made.append("failing")
        return 1 / 0


def run(context, sections):
    return runner.run(context, {"drawn": sections.drawn, "lacking": sections.lacking, "failing": sections.failing})


def test_a_checkpoint_chosen_by_the_stars_that_it_is_judged_by_is_confessed_first(context):
    context.trained.sidecar["checkpoint_chosen_by"] = "validation"
    page, _ = run(context, Sections())
    first, second = json.loads((context.out_dir / "results.json").read_text())["verdict"]
    assert "was chosen by the validation stars that it is judged by" in first
    assert "was chosen by the validation stars" in page.read_text()
    assert second == "It is 12 K."


def test_a_section_that_fails_or_lacks_something_takes_no_other_with_it(context):
    page, made = run(context, Sections())
    assert [section.missing is None for section in made] == [True, False, False]
    assert runner.failed(made) == ["failing"]
    assert runner.verdict(made) == ("It is 12 K.",)
    html = page.read_text()
    assert "was chosen by the validation stars" not in html
    for words in ("It is 12 K.", "There is no tea", "ZeroDivisionError"):
        assert words in html
    assert "1 / 0" in (context.out_dir / "failed_failing.txt").read_text()
    results = json.loads((context.out_dir / "results.json").read_text())
    assert results["sections"]["precision"]["values"] == {"std": 12.0}


def test_what_was_made_is_kept_until_something_changes(context, monkeypatch):
    sections = Sections()
    _, first = run(context, sections)
    _, again = run(context, sections)
    assert sections.made.count("drawn") == 1
    assert first == again
    assert sections.made.count("failing") == sections.made.count("lacking") == 2  # these are tried again
    run(dataclasses.replace(context, options=dataclasses.replace(context.options, seed=5)), sections)
    assert sections.made.count("drawn") == 2
    (context.out_dir / "figures/dot.png").unlink()
    run(context, sections)
    assert sections.made.count("drawn") == 3
    monkeypatch.setattr(runner, "code_digest", lambda: "other code")
    run(context, sections)
    assert sections.made.count("drawn") == 4


def test_another_surveys_labels_are_another_evaluation(context):
    sections = Sections()
    for labels in (np.array([5000.0]), np.array([5001.0])):
        matched = Matched(SURVEYS["apogee"], False, np.arange(1), {"teff": labels}, {}, {"a": 1})
        run(dataclasses.replace(context, external={"APOGEE DR17": matched}), sections)
    assert sections.made.count("drawn") == 2


def test_a_computation_that_is_cut_off_leaves_nothing_and_a_finished_one_is_read(context):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        context.cached("thing", {"seed": 0}, interrupted)
    assert not list(context.out_dir.glob("cache/thing*"))
    made = context.cached("thing", {"seed": 0}, lambda: {"a": np.arange(3)})
    again = context.cached("thing", {"seed": 0}, interrupted)
    np.testing.assert_array_equal(made["a"], again["a"])
    other = context.cached("thing", {"seed": 1}, lambda: {"a": np.arange(4)})
    assert len(other["a"]) == 4
