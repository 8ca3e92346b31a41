"""The report's pages, judged by parsers that know nothing of it."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from acf_jax.report.markdown import plain
from acf_jax.report.page import Heading, inline, markdown_page, write
from acf_jax.report.section import FigureFile, Section, Table
from tests.acf_jax.report.report_by_hand import GATHERED, SAMPLE, write_figure

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """What a browser would see: the tags' tree, the words of each, and the attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.words, self.by_id, self.stream = [], [], {}, {}, ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.by_id[dict(attributes).get("id")] = tag
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.stream += data
        if data.strip():
            self.words.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report(tmp_path):
    """A report of two made sections and a missing one, whose words are what an attacker would write."""
    write_figure(tmp_path, "residuals")
    sections = [
        Section(
            "precision", 'Precision of <script>alert("1")</script> & co',
            text=("Star `<b>3|4</b>` has log g < 4 & [Fe/H](http://elsewhere) > 0.", "</section></main>"),
            tables=(Table(f"Against | labels ({SAMPLE})", ("<th>", "std | K"), (("a|b", "1"), ("</table>", "2")), 1),),
            figures=(FigureFile("residuals", f'Residuals "quoted" <img src=x onerror=y> ({SAMPLE})'),),
            values={"teff": {"std": 95.02, "n": 9, "none": None}},
        ),
        Section("figure_8", "Predictions & labels", text=("Plain.",)),
        Section("parallax", "What <parallax> brings", missing="There is no ACPF: train it with `train.py --a=<b>`."),
    ]  # fmt: skip
    heading = Heading("ACF <img src=x>", SAMPLE, ("Parallax `improves` log g & <i>more</i>.",), GATHERED)
    path = write(sections, heading, tmp_path)
    return path, sections, heading


def test_no_words_of_a_section_become_tags(report):
    path, sections, _ = report
    page = Page(path.read_text())
    assert not {"script", "b", "i", "iframe"} & {tag for tag, _ in page.tags}
    assert len(page.all("img")) == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert sections[0].title in page.words["h2"]
    assert "<b>3|4</b>" in page.words["code"]
    assert "</section></main>" in page.words["p"]
    assert "</table>" in page.words["td"]
    assert "train.py --a=<b>" in page.words["code"]
    assert page.words["title"] == [f"ACF <img src=x>: {SAMPLE}"]


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_any_text_is_shown_as_it_is(text):
    page = Page(str(inline(text)))
    assert {tag for tag, _ in page.tags} <= {"code"}
    assert page.stream == plain(text)


def test_the_picture_is_in_the_page_with_its_caption_as_text_and_a_link_to_its_pdf(report):
    path, sections, _ = report
    page = Page(path.read_text())
    (picture,) = page.all("img")
    kind, data = picture["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (path.parent / "figures/residuals.png").read_bytes()
    assert picture["alt"] == sections[0].figures[0].caption
    assert "figures/residuals.pdf" in [a["href"] for a in page.all("a")]


def test_the_page_asks_for_nothing_from_elsewhere(report):
    page = Page(report[0].read_text())
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(address.startswith(("data:", "#", "figures/")) for address in addresses)
    assert "@import" not in page.words["style"][0]
    assert "url(" not in page.words["style"][0]
    assert {"http-equiv": "Content-Security-Policy"}.items() <= page.all("meta")[1].items()


def test_contents_lead_to_what_is_there_and_the_missing_is_listed_with_how_to_get_it(report):
    path, _, _ = report
    page = Page(path.read_text())
    anchors = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert anchors == ["precision", "figure_8", "left_out", "provenance"]
    assert all(page.by_id[anchor] == "section" for anchor in anchors)
    assert "What <parallax> brings" in page.words["dt"]
    assert "There is no ACPF: train it with " in page.words["dd"]


def test_tables_have_heads_and_numbers_on_the_right(report):
    page = Page(report[0].read_text())
    assert page.all("th") == [{"scope": "col"}, {"scope": "col", "class": "number"}]
    assert page.words["td"] == ["a|b", "1", "</table>", "2"]
    assert [cell.get("class") for cell in page.all("td")] == [None, "number"] * 2


def test_markdown_says_what_the_page_says(report):
    path, sections, heading = report
    rendered = Page(MarkdownIt("commonmark").enable("table").render((path.parent / "report.md").read_text()))
    page = Page(path.read_text())
    assert not {"script", "b", "i"} & {tag for tag, _ in rendered.tags}
    assert rendered.all("img")[0]["alt"] == sections[0].figures[0].caption
    assert rendered.all("img")[0]["src"] == "figures/residuals.png"
    assert rendered.words["td"] == page.words["td"]
    assert rendered.words["th"] == page.words["th"]
    assert rendered.words["h1"] == [heading.title]
    assert [title for title in rendered.words["h2"] if title in page.words["h2"]] == rendered.words["h2"]
    words_of_each = ("</section></main>", "<b>3|4</b>", "train.py --a=<b>", "improves", "model.depths: [1, 2]")
    for words in words_of_each:
        assert words in rendered.stream
        assert words in page.stream
    addresses = [{a["href"] for a in shown.all("a") if "href" in a} for shown in (page, rendered)]
    assert addresses[0] == addresses[1]
    for key in ("precision", "figure_8", "left_out", "provenance"):
        assert key in rendered.by_id


def test_results_hold_every_number_and_what_is_missing(report):
    path, sections, _ = report
    stored = json.loads((path.parent / "results.json").read_text())
    assert stored["sections"]["precision"]["values"] == sections[0].values
    assert stored["sections"]["parallax"] == {
        "title": sections[2].title, "missing": sections[2].missing, "values": {},
    }  # fmt: skip
    assert stored["provenance"] == GATHERED
    assert stored["verdict"] == ["Parallax `improves` log g & <i>more</i>."]


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "Out of range"), (np.float32(1), "float32")])
def test_values_that_are_not_json_are_refused_by_the_sections_name_after_the_pages_are_written(tmp_path, value, words):
    with pytest.raises(ValueError, match=rf"section 'bad' cannot go to results.json .*{words}"):
        write([Section("bad", "Bad", values={"a": [{"b": value}]})], Heading("ACF", SAMPLE), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]


def test_two_sections_of_one_key_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same key, of a, a: rename one"):
        write([Section("a", "A"), Section("a", "B")], Heading("ACF", SAMPLE), tmp_path)


def test_a_figure_that_is_not_on_disk_is_refused_by_its_path(tmp_path):
    section = Section("a", "A", figures=(FigureFile("gone", "Gone"),))
    with pytest.raises(FileNotFoundError, match=r"figures.gone\.png"):
        write([section], Heading("ACF", SAMPLE), tmp_path)


def test_without_verdict_figures_or_provenance_there_are_no_empty_parts(tmp_path):
    page = Page(write([Section("a", "A", text=("Plain.",))], Heading("ACF", SAMPLE), tmp_path).read_text())
    assert page.words["h2"] == ["Contents", "A"]
    assert markdown_page([Section("a", "A")], Heading("ACF", SAMPLE)).count("## ") == 2


def test_a_path_that_is_not_unicode_does_not_cost_the_report(tmp_path):
    path = write([Section("a", "A", text=("data\udcff",))], Heading("ACF", SAMPLE), tmp_path)
    assert "data\\udcff" in path.read_text()
