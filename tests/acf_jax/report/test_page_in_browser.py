"""The report in a real browser: it asks for nothing, complains of nothing, and fits a phone."""

import pytest

from acf_jax.report.page import Heading, write
from acf_jax.report.section import FigureFile, Section, Table
from tests.acf_jax.report.headless_browser import CHROMIUM, Browser
from tests.acf_jax.report.report_by_hand import GATHERED, SAMPLE, write_figure

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A report with all that is wide: a table, a figure, a listing, a word."""
    out_dir = tmp_path_factory.mktemp("report")
    write_figure(out_dir, "wide", width_in=11)
    header = ("", "method", *(f"{name} ({unit})" for name in ("offset", "std", "RMSE") for unit in ("K", "dex", "mag")))
    rows = tuple((f"row {i}", "gradient boosting, no parallax", *["+1,234.5"] * 9) for i in range(60))
    sections = [
        Section(
            "precision", "Precision", text=("A paragraph of `code` and words. " * 12, "w" * 300),
            tables=(Table(f"Everything ({SAMPLE})", header, rows, 2),),
            figures=(FigureFile("wide", f"A wide figure ({SAMPLE}). " * 5),),
        ),
        Section("parallax", "What parallax brings", missing="Train ACPF: `python train.py --config configs/demo.py`."),
    ]  # fmt: skip
    return write(sections, Heading("ACF", SAMPLE, ("Parallax improves log g most.",), GATHERED), out_dir)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width_px", [360, 1280])
def test_the_page_fits_and_asks_for_nothing(browser, path, width_px, dark):
    browser.events.clear()
    browser.open(path, width_px, dark)
    assert browser.requests() == []
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width_px
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 1000)")


@pytest.mark.parametrize("inside", ["table", "img"])
def test_a_wide_table_and_a_wide_figure_scroll_in_boxes_of_their_own_on_a_phone(browser, path, inside):
    browser.events.clear()
    browser.open(path, 360)
    box = f"document.querySelector('.wide:has({inside})')"
    assert browser.evaluate(f"{box}.clientWidth") <= 360
    assert browser.evaluate(f"{box}.scrollWidth") >= 700


def test_dark_and_light_are_legible(browser, path):
    """The contrast of text and page is what WCAG asks of small text, or more."""
    for dark in (False, True):
        browser.events.clear()
        browser.open(path, 1280, dark)
        for ink, paper in (("--ink", "--paper"), ("--soft", "--paper"), ("--link", "--paper"), ("--ink", "--shade")):
            a, b = (
                luminance(browser.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}')"))
                for name in (ink, paper)
            )
            assert (max(a, b) + 0.05) / (min(a, b) + 0.05) >= 4.5
        shown = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert shown == ("rgb(22, 24, 26)" if dark else "rgb(255, 255, 255)")


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    channels = (int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contents_lead_to_their_sections(browser, path):
    browser.events.clear()
    browser.open(path, 1280)
    anchors = "[...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash)?.tagName)"
    assert browser.evaluate(anchors) == ["SECTION"] * 3


def test_print_shows_the_folded_listings_and_nothing_is_cut_at_the_side(browser, path):
    browser.events.clear()
    browser.open(path, 700)  # A4 without its margins, at 96 px an inch
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("document.documentElement.scrollWidth") == 700
    assert browser.evaluate("document.querySelector('details pre').checkVisibility()") is True
    assert browser.pdf().startswith(b"%PDF")
