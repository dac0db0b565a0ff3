"""Texts of one template: each knows the lines that it has in common with the others, so that work on these is done once for all of them.

What is made of such a text by any method of texts is a plain one, which knows of nothing: it can only be slower to work on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# A block begins and ends between two lines, where no tag of HTML is open.
_BORDER = ">\n"
# What whole mails begin with, and nothing else.
_BEGIN = "<!DOCTYPE"


class Woven(str):
    """A text in blocks of whole lines: its own, common ones, its own, and so on; an own one at both ends, which may be empty.

    A common block is the same object in every text that has it. No tag goes from one block into the next.
    """

    __slots__ = ("blocks",)
    blocks: tuple[str, ...]


# What is put out as it stands → what of it is for the line before, the common block, and what is for the line after.
Cuts = Mapping[str, tuple[str, str, str]]


def cuts(constants: Iterable[object]) -> Cuts:
    """How the constant pieces of a template are cut; those that hold no whole line are left out."""
    return {one: cut for one in constants if isinstance(one, str) and (cut := _cut(one))[1]}


def weave(pieces: Iterable[str], known: Cuts) -> Woven:
    """The text of these pieces, one after the other."""
    blocks: list[str] = []
    # Joined, not added: to a piece that is marked safe nothing can be added as it stands.
    own: list[str] = []
    for piece in pieces:
        if (cut := known.get(piece)) is None:
            own.append(piece)
        else:
            before, common, after = cut
            blocks += ("".join((*own, before)), common)
            own = [after]
    return of_blocks((*blocks, "".join(own)))


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


def _cut(piece: str) -> tuple[str, str, str]:
    first, last = (place + len(_BORDER) for place in (piece.find(_BORDER), piece.rfind(_BORDER)))
    if piece.startswith(_BEGIN):
        first = 0
    return piece[:first], piece[first:last], piece[last:]
