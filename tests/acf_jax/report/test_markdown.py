"""Markdown is judged by another parser of it: what it shows must be the text that went in."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from acf_jax.report.markdown import cell, code_block, link, markdown_table, paragraph, plain, spans

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MEAN = "ab1 ._-+*#`~<>[](){}|\\&;:!$=/\"'²σ\n\t"  # what may mean something, and what makes words of it
TEXTS = st.text(st.sampled_from(MEAN), max_size=25) | st.text(
    st.characters(exclude_categories=("Cc", "Cs")), max_size=25
)
SOME_TEXTS = TEXTS.filter(lambda text: text.split() != [])
WORDS_OF_OUR_OWN = (
    "[Fe/H] of fe_h and _teff_", "[Fe/H](x)", "[x]: y", "<b>bold</b> & a < b", "&lt;", "1. one", "2) two", "- item",
    "# title #", "> said", "---", "+ 3", "`a|b` | c", "a\\|b", "``", "`x`` y`", "~~gone~~", "[ ] to do", "`a\\`",
)  # fmt: skip


def words(token):
    """The text that an inline token shows, its pictures' too."""
    return "".join(child.content for child in token.children)


def kinds(markdown):
    return [token.type for token in PARSER.parse(markdown)]


def check_paragraph(text):
    assert kinds(paragraph(text)) == ["paragraph_open", "inline", "paragraph_close"]
    inline = PARSER.parse(paragraph(text))[1]
    assert {child.type for child in inline.children} <= {"text", "code_inline"}
    assert [(child.type == "code_inline", child.content) for child in inline.children if child.content] == spans(text)


@given(SOME_TEXTS)
def test_a_paragraph_shows_its_text_and_is_one_paragraph(text):
    check_paragraph(text)


@pytest.mark.parametrize("text", WORDS_OF_OUR_OWN)
def test_a_paragraph_of_marks_shows_them(text):
    check_paragraph(text)


@given(SOME_TEXTS)
@example("C #")
@example("a ## ")
def test_a_heading_and_an_item_show_their_text(text):
    heading = PARSER.parse(f"## {paragraph(text)}")
    assert [token.type for token in heading] == ["heading_open", "inline", "heading_close"]
    assert words(heading[1]) == plain(text)
    item = PARSER.parse(f"- {paragraph(text)}")
    assert [token.type for token in item[:4]] == ["bullet_list_open", "list_item_open", "paragraph_open", "inline"]
    assert len(item) == 7  # and these, closed
    assert words(item[3]) == plain(text)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=3))
@example([("a|b", "c"), ("`a|b`", "\\|"), ("`a\\|b`", "|"), ("---", ":-:")])
def test_a_table_keeps_its_cells(rows):
    tokens = PARSER.parse("\n".join(markdown_table(("a", "n"), rows, n_text=1)))
    assert tokens[0].type == "table_open"
    assert tokens[-1].type == "table_close"
    cells = [words(token) for token in tokens if token.type == "inline"]
    assert cells == ["a", "n", *(plain(text) for row in rows for text in row)]


@given(TEXTS)
def test_a_link_and_a_picture_show_their_text_and_lead_where_they_should(text):
    inline = PARSER.parse(link(text, "#key"))[1]
    assert inline.children[0].attrs == {"href": "#key"}
    assert inline.children[-1].type == "link_close"
    assert words(inline) == plain(text)
    (picture,) = PARSER.parse(f"!{link(text, 'a.png')}")[1].children
    assert picture.attrs["src"] == "a.png"
    assert "".join(child.content for child in picture.children or ()) == plain(text)


@given(st.lists(st.text(st.sampled_from("ab `~#<-"), min_size=1).filter(str.strip), min_size=1))
def test_nothing_in_a_code_block_ends_it(lines):
    (block,) = PARSER.parse("\n".join(code_block("\n".join(lines))))
    assert block.type == "code_block"
    assert block.content.splitlines() == [line.rstrip() for line in lines]


def test_what_needs_no_escape_is_left_alone():
    text = "The ACF on fe_h: [Fe/H] +0.02 dex (n = 1,211); sigma < 0.1 & `--samples 100` > 3, 1.5 K - a lot"
    assert paragraph(text) == text


def test_columns_have_one_width_and_numbers_stand_on_the_right():
    assert markdown_table(("method", "n"), [("ACF", "1,211"), ("MLP", "9")], n_text=1) == [
        "| method |     n |",
        "| ------ | ----: |",
        "| ACF    | 1,211 |",
        "| MLP    |     9 |",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run `train.py` now", [(False, "run "), (True, "train.py"), (False, " now")]),
        ("a `` b ` c", [(False, "a `` b ` c")]),
        ("two\nlines", [(False, "two lines")]),
        ("", []),
    ],
)
def test_code_is_what_stands_in_single_backticks(text, expected):
    assert spans(text) == expected


def test_a_bar_in_code_in_a_table_costs_the_code_only():
    assert cell("`a|b` and `c`") == r"a\|b and `c`"
