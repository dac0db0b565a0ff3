"""Which strings of the pages need a translation; `python -m tests.web.catalogue` brings the catalogue in step with them.

Strings are marked with `_()` in pages and templates, and with `phrase()` in the code below them. Names of adapters and their settings are
translated from where they stand.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from crm_plugin import errors
from crm_plugin.adapters.registry import channel_class, channel_names, storefront_class, storefront_names

PACKAGE = Path(__file__).resolve().parent.parent.parent / "crm_plugin"
PO = PACKAGE / "translations" / "zh" / "LC_MESSAGES" / "messages.po"
_KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "lazy_gettext": None, "_l": None, "phrase": None}
# What no page shows.
_NOT = ("cli", "demo")
# Of these, what is said while the server starts, by a command alone, or of a programme's file.
_STARTING = frozenset(
    {
        "adapters/registry.py",
        "config.py",
        "manifest.py",
        "jobs/remote.py",
        "runtime.py",
        "store/backup.py",
        "store/migrate.py",
        "touchpoints/documents.py",
        "touchpoints/program_file.py",
        "web/server.py",
        "wsgi.py",
    }
)
# What tells people something, with the place of the first argument they read.
_READ = {
    **{
        name: 0
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.CrmError) and not issubclass(one, errors.WebhookRejected)
    },
    **dict.fromkeys(("FieldError", "NotAllowed", "SecurityError"), 0),
    "Problem": 1,
    "RecordProblem": 2,
}

Message = str | tuple[str, str]


def wanted() -> dict[Message, list[tuple[str, int]]]:
    """Every message with the places it stands in; a pair is singular and plural."""
    found: dict[Message, list[tuple[str, int]]] = {}
    for method, path in _sources():
        place = path.relative_to(PACKAGE.parent).as_posix()
        options = {"trimmed": "false", "silent": "false"} if method == "jinja2" else {}
        for line, message, _, _ in extract_from_file(method, path, _KEYWORDS, options=options):
            found.setdefault(message if isinstance(message, str) else (message[0], message[1]), []).append(
                (place, line)
            )
    for text in _settings():
        found.setdefault(text, [])
    return found


def present() -> Catalog:
    """The catalogue as it is."""
    with PO.open("rb") as file:
        return read_po(file, locale="zh")


def _sources() -> list[tuple[str, Path]]:
    code = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in _NOT]
    pages = sorted((PACKAGE / "templates" / "web").rglob("*.html"))
    return [("python", path) for path in code] + [("jinja2", path) for path in pages]


def _settings() -> list[str]:
    classes = [storefront_class(name) for name in storefront_names()] + [
        channel_class(name) for name in channel_names()
    ]
    settings = [setting for cls in classes for setting in cls.settings]
    told = {text for one in settings for text in (one.label, one.help, *one.choices) if text}
    return sorted(told | {cls.label for cls in classes})


def plain_errors() -> list[tuple[str, str]]:
    """Where an error that a page can show is told in plain text, which no page could translate: place and text."""
    return [
        (f"{path.relative_to(PACKAGE)}:{told.lineno}", ast.unparse(told))
        for method, path in _sources()
        if method == "python" and path.relative_to(PACKAGE).as_posix() not in _STARTING
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for told in _told_by(call)
        if _is_plain(told)
    ]


def _told_by(call: ast.Call) -> list[ast.expr]:
    """What an error, a problem or a reason is made of that people read."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in _READ:
        return []
    first = _READ[name]
    last = first + (2 if name == "Problem" else 1)
    return [
        *call.args[first:last],
        *(word.value for word in call.keywords if word.arg in ("message", "hint", "reason")),
    ]


def _is_plain(told: ast.expr) -> bool:
    if isinstance(told, ast.IfExp):
        return _is_plain(told.body) or _is_plain(told.orelse)
    return isinstance(told, ast.JoinedStr | ast.BinOp) or (isinstance(told, ast.Constant) and bool(told.value))


def bring_in_step(*more: Path) -> list[Message]:
    """Write the catalogue anew: translations there are (also from `more` files) are kept, unused ones dropped; answers what is missing."""
    known: dict[Message, object] = {}
    for path in (*more, PO):
        if path.is_file():
            with path.open("rb") as file:
                known.update(
                    {entry.id: entry.string for entry in read_po(file, locale="zh") if entry.id and _done(entry.string)}
                )
    fresh = Catalog(locale="zh", project="crm-plugin", fuzzy=False, charset="utf-8")
    for message, places in sorted(wanted().items(), key=lambda item: (item[1], str(item[0]))):
        fresh.add(
            message,
            known.get(message, "" if isinstance(message, str) else ("",)),
            locations=[(place, 0) for place, _ in places[:1]],
        )
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, fresh, omit_header=False, width=120, include_lineno=False)
    return [entry.id for entry in fresh if entry.id and not _done(entry.string)]


def _done(string: object) -> bool:
    return bool(string) if isinstance(string, str) else isinstance(string, (list, tuple)) and all(string)


if __name__ == "__main__":
    missing = bring_in_step(*(Path(name) for name in sys.argv[1:]))
    for message in missing:
        sys.stdout.write(f"missing: {message!r}\n")
    sys.exit(1 if missing else 0)
