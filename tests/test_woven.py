"""Texts in blocks: they read as any text does, and what they have in common is the same object in each."""

from __future__ import annotations

import copy
import pickle
import re

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from crm_plugin.woven import Woven, apart, cuts, of_blocks, weave

_PIECE = st.text("a<>\n ", max_size=12)


@given(st.lists(_PIECE, max_size=6), st.data())
def test_pieces_read_as_they_stand(pieces: list[str], drawn: st.DataObject) -> None:
    known = cuts(drawn.draw(st.lists(st.sampled_from(pieces or [""]))))
    made = weave(pieces, known)
    assert made == "".join(made.blocks) == "".join(pieces)
    assert len(made.blocks) % 2 == 1
    assert all(block.endswith(">\n") for block in made.blocks[:-1] if block)


def test_common_lines_are_the_same_object_in_every_text() -> None:
    constants = ["<!DOCTYPE html>\n<p>\nHello ", "</p>\n<p>All of us wish you</p>\n<p>", "</p>\n", None, 1, "\n"]
    known = cuts(constants)
    anna, tom = (
        weave([constants[0], name, constants[1], name, constants[2]], known) for name in ("Anna", Markup("Tom"))
    )
    assert anna.blocks == (
        "", "<!DOCTYPE html>\n<p>\n", "Hello Anna</p>\n", "<p>All of us wish you</p>\n", "<p>Anna</p>\n"
    )  # fmt: skip
    assert tom.blocks[2] == "Hello Tom</p>\n"
    assert all(one is other for one, other in zip(anna.blocks[1::2], tom.blocks[1::2], strict=True))


def test_line_that_nothing_stands_before_is_common_as_a_whole() -> None:
    first, then = "<p>\n<p>\n", "<b>All</b>\n<i>\n"
    known = cuts([first, then])
    assert weave([first, "", then], known).blocks == ("", first, "", then, "")
    assert weave([first, "Anna ", then], known).blocks == ("", first, "Anna <b>All</b>\n", "<i>\n", "")


def test_what_is_marked_safe_marks_nothing_else() -> None:
    made = weave(["<p>", Markup("&amp;"), "</p>"], {})
    assert made == "<p>&amp;</p>"
    assert type(made.blocks[0]) is str


def test_changed_text_knows_of_no_blocks() -> None:
    made = of_blocks(("<p>A</p>\n", "<p>B</p>\n", ""))
    assert not any(isinstance(one, Woven) for one in (made.replace("A", "C"), made + "", made[:], f"{made}"))
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (again, again.blocks) == (made, made.blocks)


@given(st.lists(st.sampled_from(["<p>\n", "x\n", "<a>\n", "<a\n>x", "<b>"]), max_size=8))
def test_lines_with_what_is_sought_stand_apart(lines: list[str]) -> None:
    common = "".join(lines) + "<p>\n"
    parts = apart(common, re.compile(r"<a\s*>"))
    assert "".join(parts) == common
    assert len(parts) % 2 == 1
    assert not any("<a" in one for one in parts[::2])
    assert all("<a" in one for one in parts[1::2])
    assert all(one.endswith(">\n") for one in parts if one)
