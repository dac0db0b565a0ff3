"""Texts of one template: each knows the lines that it has in common with the others, so that work on these is done once for all of them.

What is made of such a text by any method of texts is a plain one, which knows of nothing: it can only be slower to work on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# A block begins and ends between two lines, where no tag of HTML is open.
_BORDER = ">\n"


class Woven(str):
    """A text in blocks of whole lines: its own, common ones, its own, and so on; an own one at both ends, which may be empty.

    A common block is the same object in every text that has it. No tag goes from one block into the next.
    """

    __slots__ = ("blocks",)
    blocks: tuple[str, ...]


class Cut(NamedTuple):
    """A constant piece of a template: its whole lines, with what is for the line before them and for the line after.

    `first` are all up to the last border, for where no line is open before it.
    """

    before: str
    common: str
    after: str
    first: str


def cuts(constants: Iterable[object]) -> dict[str, Cut]:
    """How the constant pieces of a template are cut; those that hold no whole line are left out."""
    return {one: cut for one in constants if isinstance(one, str) and (cut := _cut(one)).common}


def weave(pieces: Iterable[str], known: Mapping[str, Cut]) -> Woven:
    """The text of these pieces, one after the other."""
    blocks: list[str] = []
    # Joined, not added: to a piece that is marked safe nothing can be added as it stands.
    open_: list[str] = []
    for piece in pieces:
        if (cut := known.get(piece)) is None:
            open_.append(piece)
            continue
        told = "".join(open_)
        blocks += (told + cut.before, cut.common) if told else ("", cut.first)
        open_ = [cut.after]
    return of_blocks((*blocks, "".join(open_)))


def of_blocks(blocks: Iterable[str]) -> Woven:
    """The text of these blocks, which are as a `Woven` has them."""
    told = tuple(blocks)
    made = Woven("".join(told))
    made.blocks = told
    return made


def apart(common: str, what: re.Pattern[str]) -> tuple[str, ...]:
    """A common block with the lines that hold `what`, which goes over no border, as own ones between what is left of it."""
    parts: list[str] = []
    done = 0
    for found in what.finditer(common):
        if found.start() >= done:
            border = common.rfind(_BORDER, done, found.start())
            start = done if border < 0 else border + len(_BORDER)
            end = common.index(_BORDER, found.end()) + len(_BORDER)
            parts += (common[done:start], common[start:end])
            done = end
    return (*parts, common[done:])


def _cut(piece: str) -> Cut:
    first, last = (place + len(_BORDER) for place in (piece.find(_BORDER), piece.rfind(_BORDER)))
    return Cut(piece[:first], piece[first:last], piece[last:], piece[:last])
