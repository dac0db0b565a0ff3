"""A file as rows of cells: plain or gzip, its encoding and its delimiter found out, and words for a file that is none of this."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crm_plugin.adapters.storefronts.csv.mapping import FileMapping
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase

# A first line that is longer names no columns: somebody chose a picture or an archive.
_LONGEST_LINE = 1_000_000
_DELIMITERS = (",", ";", "\t", "|")
_GZIP = b"\x1f\x8b"
# Excel's own formats: a zip archive since 2007, a compound document before.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SAVE = phrase("Save it as CSV (UTF-8)")


# A row of the file: the line it begins in, counted from 1, and its cells.
Line = tuple[int, list[str]]


@contextmanager
def open_rows(path: Path, mapping: FileMapping) -> Iterator[tuple[Iterator[Line], list[str]]]:
    """The rows after the first line, and the names in that. Raises: InvalidInput, also while the rows are read."""
    try:
        raw: Any = path.open("rb")
    except OSError as error:
        raise InvalidInput(
            phrase("The file %(name)s cannot be opened: %(why)s.", name=path.name, why=error.strerror),
            field="file",
            hint=phrase("Check its name and folder."),
        ) from error
    with raw:
        if raw.peek(2)[:2] == _GZIP:
            raw = io.BufferedReader(gzip.GzipFile(fileobj=raw))
        text = io.TextIOWrapper(raw, encoding=_encoding(raw, mapping), newline="")
        first = _first_line(text)
        delimiter = mapping.delimiter or max(_DELIMITERS, key=first.count)
        rows = _rows(first, text, delimiter)
        header = [name.strip() for name in next(rows)[1]]
        if len(header) == 1 and mapping.delimiter:
            _refuse_delimiter(first, mapping.delimiter)
        yield rows, header


def _encoding(raw: Any, mapping: FileMapping) -> str:
    try:
        begin = raw.peek(4)[:4]
    except (EOFError, OSError) as error:
        raise _broken_archive() from error
    if begin.startswith(_WORKBOOKS):
        raise InvalidInput(
            phrase("That is a workbook or an archive, no CSV file."),
            field="file",
            hint=phrase("%(what)s first.", what=_SAVE),
        )
    return mapping.encoding or ("utf-16" if begin.startswith(_UTF_16) else "utf-8-sig")


def _first_line(text: io.TextIOWrapper) -> str:
    try:
        first = text.readline(_LONGEST_LINE)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(error, phrase("The file")) from error
    except (EOFError, OSError) as error:
        raise _broken_archive() from error
    if len(first) == _LONGEST_LINE:
        raise InvalidInput(
            phrase("The file's first line does not end."), field="file", hint=phrase("Choose a CSV file; this is none.")
        )
    if not first.strip():
        raise InvalidInput(
            phrase("The file is empty."), field="file", hint=phrase("Its first line must name the columns.")
        )
    return first


def _refuse_delimiter(first: str, told: str) -> None:
    better = max(_DELIMITERS, key=first.count)
    if first.count(better):
        raise InvalidInput(
            phrase("%(told)r does not stand between the columns of this file.", told=told),
            field="mapping",
            hint=phrase(
                "It looks like %(better)r; leave `delimiter` out of the mapping and it is found out.", better=better
            ),
        )


class _Endless(Exception):
    """A row that goes on and on."""


class _Lines:
    """The lines of a file, as long as a row of it has an end: a small archive may hold one line of gigabytes."""

    def __init__(self, first: str, text: io.TextIOWrapper) -> None:
        self._first = first
        self._read = text.readline
        # Characters since the last whole row.
        self.row_size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self._first = self._first or self._read(_LONGEST_LINE), ""
        if not line:
            raise StopIteration
        self.row_size += len(line)
        if self.row_size >= _LONGEST_LINE:
            raise _Endless
        return line


def _rows(first: str, text: io.TextIOWrapper, delimiter: str) -> Iterator[Line]:
    line = 1
    lines = _Lines(first, text)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            lines.row_size = 0
            yield line, cells
            line = reader.line_num + 1
    except _Endless as error:
        raise InvalidInput(
            phrase("The row that begins in line %(line)s does not end.", line=line),
            field="file",
            hint=phrase("%(what)s again; this is no table.", what=_SAVE),
        ) from error
    except UnicodeDecodeError as error:
        # The file is decoded some rows ahead of where it is read.
        raise _wrong_encoding(error, phrase("Somewhere after line %(line)s the file", line=line)) from error
    except csv.Error as error:
        raise InvalidInput(
            phrase("Line %(line)s cannot be read as CSV: %(what)s.", line=line, what=error),
            field="file",
            hint=phrase(
                "%(what)s again; a quotation mark that is opened and never closed is the usual cause.", what=_SAVE
            ),
        ) from error
    except (EOFError, OSError) as error:
        raise InvalidInput(
            phrase("The file breaks off after line %(line)s.", line=line),
            field="file",
            hint=phrase("Copy or export it again, whole."),
        ) from error


def _wrong_encoding(error: UnicodeDecodeError, what: str) -> InvalidInput:
    return InvalidInput(
        phrase("%(what)s is not in the encoding %(encoding)s.", what=what, encoding=error.encoding),
        field="file",
        hint=phrase("Name its encoding in the mapping, such as encoding: cp1252, or save the file as UTF-8."),
    )


def _broken_archive() -> InvalidInput:
    return InvalidInput(phrase("The file is not a whole gzip file."), field="file", hint=phrase("Copy it again."))
