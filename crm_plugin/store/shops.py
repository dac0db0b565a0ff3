"""The tenants and what is configured for each."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from crm_plugin.store.base import Instant, Json, PhraseText, belongs_to, from_micros, id_key, metadata, shop_key
from crm_plugin.store.indexes import partial_index

_NEWS = text("state = 'new'")
_GIVEN_UP = text("state = 'failed'")
_WAITS = text("state = 'waiting'")
NAMED = text("reference <> ''")

# One row: an installed store. `credentials` is Fernet-encrypted JSON. `settings` holds quiet hours, brand, exchange rates and so on.
# `reference` is the platform's own name for the store, the same at every install; empty where keys were typed in. `installed_at` is when
# it was installed last from the platform's side. `status_reason` says in one word why the connection is as it is (`sync/standing.py`),
# `status_at` since when; a store is one shop's alone.
shops = Table(
    "shops",
    metadata,
    shop_key(),
    Column("name", Text, nullable=False),
    Column("title", Text, nullable=False, default=""),
    Column("platform", Text, nullable=False),
    Column("url", Text, nullable=False, default=""),
    Column("reference", Text, nullable=False, default="", server_default=""),
    Column("currency", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("locale", Text, nullable=False, default="en"),
    Column("status", Text, nullable=False, default="connected"),
    Column("status_detail", PhraseText, nullable=False, default=""),
    Column("status_reason", Text, nullable=False, default="", server_default=""),
    Column("status_at", Instant),
    Column("settings", Json, nullable=False, default=dict),
    Column("credentials", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("installed_at", Instant),
    UniqueConstraint("name", name="uq_shops_name"),
    partial_index("ix_shops_store", "platform", "reference", unique=True, where=NAMED),
)

# One row: one sender (smtp, twilio, ...) of a shop. `settings` is JSON, encrypted where it may hold a secret (`secrets.py`).
connections = Table(
    "connections",
    metadata,
    shop_key(),
    Column("adapter", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("settings", LargeBinary, nullable=False),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("status", Text, nullable=False, default="unchecked"),
    Column("status_detail", PhraseText, nullable=False, default=""),
    Column("updated_at", Instant, nullable=False),
    belongs_to("shops"),
)

# One row: how far one stream of a shop has been pulled. `cursor` is the adapter's own, opaque to us. `whole_since` is when the last
# reading that came to its end began: all there was by then is here, whatever became of readings since.
sync_state = Table(
    "sync_state",
    metadata,
    shop_key(),
    Column("stream", Text, primary_key=True),
    Column("cursor", Text, nullable=False, default=""),
    Column("phase", Text, nullable=False, default="idle"),
    Column("done", Integer, nullable=False, default=0),
    Column("total", Integer),
    Column("started_at", Instant),
    Column("whole_since", Instant),
    Column("updated_at", Instant, nullable=False),
    Column("detail", PhraseText, nullable=False, default=""),
    belongs_to("shops"),
)

# One row: a record that could not be read, with its raw text; `state` is open, resolved or dismissed.
problems = Table(
    "problems",
    metadata,
    shop_key(),
    id_key("problem_id"),
    Column("stream", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("path", Text, nullable=False, default=""),
    Column("reason", PhraseText, nullable=False),
    Column("raw", Text, nullable=False),
    Column("state", Text, nullable=False, default="open"),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    UniqueConstraint("shop_id", "stream", "external_id"),
    belongs_to("shops"),
)

# One row: one event that a store told, kept before anything is done about it; repeats fall on the unique key. `stream` and `external_id`
# say what to look at, `body` holds what else the event says. `state` is new, done, or failed once it was tried often enough.
inbox = Table(
    "inbox",
    metadata,
    shop_key(),
    id_key("inbox_id"),
    Column("source", Text, nullable=False),
    Column("dedupe_key", Text, nullable=False),
    Column("kind", Text, nullable=False, default="", server_default=""),
    Column("topic", Text, nullable=False, default=""),
    Column("stream", Text, nullable=False, default="", server_default=""),
    Column("external_id", Text, nullable=False, default="", server_default=""),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, default="new"),
    Column("detail", PhraseText, nullable=False, default=""),
    Column("tries", Integer, nullable=False, default=0, server_default="0"),
    Column("next_try_at", Instant, nullable=False, default=from_micros(0), server_default="0"),
    Column("received_at", Instant, nullable=False),
    Column("handled_at", Instant),
    UniqueConstraint("shop_id", "source", "dedupe_key"),
    belongs_to("shops"),
    partial_index("ix_inbox_failed", "shop_id", "inbox_id", where=_GIVEN_UP),
    partial_index("ix_inbox_new", "shop_id", "next_try_at", "inbox_id", where=_NEWS),
)

# One row: what a customer asked for by law (`kind` is export or erase), through the store or through the merchant. It names the person by
# what was told, until it is done; `member_ids` are those who were meant. `due_at` is the last day that the law gives.
privacy_requests = Table(
    "privacy_requests",
    metadata,
    shop_key(),
    id_key("request_id"),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("told", Json, nullable=False, default=dict),
    Column("member_ids", Json, nullable=False, default=list),
    Column("asked_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("done_at", Instant),
    belongs_to("shops"),
    Index("ix_privacy_requests_asked", "shop_id", "asked_at"),
)

# One row: an install that was begun, under shop 0, for nobody is here yet; `told` is encrypted. Its token is good once.
installs = Table(
    "installs",
    metadata,
    shop_key(),
    Column("token", Text, primary_key=True),
    Column("platform", Text, nullable=False),
    Column("told", LargeBinary, nullable=False),
    Column("begun_at", Instant, nullable=False),
    Column("used_at", Instant),
)

# One row: something of a member that the store is to hold as well: a tag, or consent to a channel (`kind` tag or consent, `what` its name,
# `wanted` on or off). Only the newest is written. `state` is waiting, written, failed or impossible.
store_writes = Table(
    "store_writes",
    metadata,
    shop_key(),
    Column("kind", Text, primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("what", Text, primary_key=True),
    Column("wanted", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Column("state", Text, nullable=False, default="waiting"),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_try_at", Instant, nullable=False),
    Column("detail", PhraseText, nullable=False, default=""),
    belongs_to("members", "member_id"),
    partial_index("ix_store_writes_due", "shop_id", "next_try_at", where=_WAITS),
)

# One row: who changed what, for the audit log. `actor` is "cli", "page:<who>" or "job:<name>".
audit_log = Table(
    "audit_log",
    metadata,
    shop_key(),
    id_key("audit_id"),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("detail", Json, nullable=False, default=dict),
    belongs_to("shops"),
)

# One row: how the last run of one job of a shop went. `through` is how far a job that keeps a mark has come (tiers: the local day).
# `hooks` is none: its result counts what came to the shop's hooks and was odd (`hook_counts.py`).
job_runs = Table(
    "job_runs",
    metadata,
    shop_key(),
    Column("job", Text, primary_key=True),
    Column("through", Text, nullable=False, default=""),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("result", Json, nullable=False, default=dict),
    Column("error", PhraseText, nullable=False, default=""),
    belongs_to("shops"),
)

# One row: how a sender fares, for all who send by it. `rests_until` is until when it is left alone: it failed `failures` times in a row of
# rests, or asked for the pause itself. `tokens` are the messages that might leave at `counted_at`; NULL where no rate was ever set.
sender_health = Table(
    "sender_health",
    metadata,
    shop_key(),
    Column("adapter", Text, primary_key=True),
    Column("failures", Integer, nullable=False, default=0),
    Column("rests_until", Instant),
    Column("why", PhraseText, nullable=False, default=""),
    Column("tokens", Integer),
    Column("counted_at", Instant),
    belongs_to("shops"),
)

# One row: a job of a shop that waits or runs, where processes share the work; shop 0 stands for the whole installation, whose clock holds
# one too. Whoever `token` names holds it until `until`; a process that dies lets it run out, and the next one takes it.
job_leases = Table(
    "job_leases",
    metadata,
    shop_key(),
    Column("name", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("started", Boolean, nullable=False, default=False),
    Column("label", Text, nullable=False, default=""),
    Column("done", BigInteger, nullable=False, default=0),
    Column("total", BigInteger),
)
