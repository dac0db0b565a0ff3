"""The whole history by a bulk query: the shop writes it into a file while we wait, at no cost, and the file is read in flat memory.

In the cursor `bulk` is the operation's id, so that another process goes on with the same file, and `done` how many rows of it were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
import requests

from crm_plugin.adapters.storefronts.rows import Cursor, Reader
from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER, UserError
from crm_plugin.adapters.storefronts.shopify.rows import page_of, variants_of
from crm_plugin.adapters.storefronts.shopify.staging import Staging
from crm_plugin.adapters.storefronts.unanswered import LATER, unanswered
from crm_plugin.errors import TransientError
from crm_plugin.http_client import make_session
from crm_plugin.phrases import phrase
from crm_plugin.records import Page, Stream

# How long one sync waits for the file; the next goes on waiting. The shop's webhook tells when it is there.
PATIENCE_SECONDS = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 10.0
# A file of some gigabytes comes within it.
_DOWNLOAD_SECONDS = 4 * 3600.0
_PREPARING = ("CREATED", "RUNNING", "CANCELING")


class _Operation(msgspec.Struct, rename="camel"):
    id: str
    status: str
    created_at: datetime
    error_code: str | None = None
    object_count: str = "0"
    file_size: str | None = None
    url: str | None = None


class _State(msgspec.Struct):
    row: _Operation | None = None


class _Run(msgspec.Struct, rename="camel"):
    bulk_operation: _Operation | None = None
    user_errors: list[UserError] = []


class _Ran(msgspec.Struct):
    done: _Run


class BulkRead:
    """All of one stream."""

    def __init__(
        self, client: ShopifyClient, stream: Stream, read: Reader, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._client = client
        self._stream = stream
        self._read = read
        self._patience = patience

    def pages(self, state: Cursor) -> Iterator[Page]:
        """The pages from the cursor on; after the last, `state` is that of a walk over what has changed since the shop began to write.

        The first page is empty: it lets the operation's id be kept before the wait. Raises: TransientError while the shop is still at it.
        """
        for _ in range(2):
            if "bulk" not in state:
                state["bulk"], state["done"] = self._begin(), 0
                yield page_of(self._stream, [], self._read, state, total=None, last=False)
            operation = self._ended(state["bulk"])
            if operation is not None and operation.status == "COMPLETED":
                try:
                    yield from self._read_file(operation, state)
                except _FileGone:
                    operation = None
                else:
                    state.clear()
                    state["since"] = operation.created_at.isoformat()
                    return
            # It will never come: another is asked for, from the beginning.
            state.clear()
        code = "gone" if operation is None else (operation.error_code or operation.status).lower()
        raise TransientError(
            phrase("The shop gave up preparing its history (%(code)s).", code=code),
            hint=LATER,
            adapter=ADAPTER,
            operation="bulk_state",
        )

    def _read_file(self, operation: _Operation, state: Cursor) -> Iterator[Page]:
        with Staging() as staging:
            if operation.url:
                staging.load(self._lines(operation.url))
            is_short = staging.size < int(operation.file_size or 0) or (
                not staging.rows and int(operation.object_count)
            )
            if is_short:
                said = phrase("%(host)s cannot be reached, or broke off in the middle.", host=self._client.shop)
                raise TransientError(said, hint=LATER, adapter=ADAPTER, operation="bulk_file")
            for raws in staging.pages(state["done"], self._client.rows):
                state["done"] += len(raws)
                whole = [one for raw in raws for one in variants_of(raw)] if self._stream is Stream.PRODUCTS else raws
                yield page_of(self._stream, whole, self._read, state, total=staging.rows, last=False)

    def _begin(self) -> str:
        text = self._client.text(f"bulk_{self._stream.value}")
        # Without a name: that is the form in which such queries are documented.
        # Asked again where no answer came: a second file is prepared for nobody, and is gone in a week.
        run = self._client.query("bulk_run", _Ran, {"query": text[text.index("{") :]}).done
        if run.bulk_operation is not None and not run.user_errors:
            return run.bulk_operation.id
        if {error.code for error in run.user_errors} & {"LIMIT_REACHED", "OPERATION_IN_PROGRESS"}:
            said = phrase("The shop is preparing as many files as it prepares at a time.")
            raise TransientError(said, hint=LATER, retry_after=300.0, adapter=ADAPTER, operation="bulk_run")
        raise errors.for_user_errors(run.user_errors, "bulk_run")

    def _ended(self, gid: str) -> _Operation | None:
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            operation = self._client.query("bulk_state", _State, {"id": gid}).row
            if operation is None or operation.status not in _PREPARING:
                return operation
            if waited >= self._patience:
                count = operation.object_count
                said = phrase("The shop is still preparing its history: %(count)s rows so far.", count=count)
                raise TransientError(said, hint=LATER, retry_after=60.0, adapter=ADAPTER, operation="bulk_state")
            self._client.sleep(pause)
            waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE)

    def _lines(self, url: str) -> Iterator[bytes]:
        """The file's lines. The address is signed: our keys are not shown there."""
        try:
            with (
                make_session(pool=1, whole=_DOWNLOAD_SECONDS) as session,
                session.get(url, stream=True, allow_redirects=False) as response,
            ):
                if 400 <= response.status_code < 500 and response.status_code not in errors.TRANSIENT:
                    raise _FileGone
                if response.status_code != 200:
                    raise errors.for_status(response, b"", "bulk_file", self._client.shop, self._client.now())
                # Only at line feeds: other separators of lines may stand within a text.
                yield from response.iter_lines(65536, delimiter=b"\n")
        except requests.RequestException as error:
            raise unanswered(error, adapter=ADAPTER, operation="bulk_file", store=url.partition("?")[0]) from error


class _FileGone(Exception):
    """The file's address is no longer good: it is for seven days."""
