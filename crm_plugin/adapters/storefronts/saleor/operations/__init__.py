"""What is asked of Saleor: one operation or fragment a file; an operation is sent with the fragments that it names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_FRAGMENTS = {
    "Place": "address",
    "Member": "member",
    "Sale": "order",
    "Variant": "variant",
    "Cart": "checkout",
    "Told": "events",
}
_SPREAD = re.compile(r"\.\.\.(\w+)")


@cache
def document(name: str) -> str:
    """The operation in `<name>.graphql` with all its fragments."""
    return with_fragments((_FOLDER / f"{name}.graphql").read_text(encoding="utf-8"))


def with_fragments(text: str) -> str:
    """The document, and behind it each fragment that it uses."""
    todo, parts, seen = [text], [text], set()
    while todo:
        for name in _SPREAD.findall(todo.pop()):
            if name not in seen:
                seen.add(name)
                found = (_FOLDER / f"{_FRAGMENTS[name]}.graphql").read_text(encoding="utf-8")
                parts.append(found)
                todo.append(found)
    return "\n".join(parts)


def names() -> list[str]:
    """All operations there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.graphql") if path.stem not in _FRAGMENTS.values())
