"""Steps that are done at once for all who stand at them: tags, coupons, tasks, levels."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import Connection, select, text

from crm_plugin.clock import day_number, local_day
from crm_plugin.errors import CrmError
from crm_plugin.ids import id_sql, reserve_ids
from crm_plugin.rules import by_hand
from crm_plugin.store import coupon_pools
from crm_plugin.store.base import to_json
from crm_plugin.touchpoints.steps.document import walk
from crm_plugin.touchpoints.steps.moves import DECIDED, STANDING, Stand
from crm_plugin.touchpoints.versions import Version

NO_STOCK, REFUSED = "no_stock", "refused"
# Those of whom it was just decided that they stay in and the step is done.
_DONE = f"FROM enrolments AS e CROSS JOIN enrolment_events AS v WHERE {STANDING} AND {DECIDED} AND v.what = 'done' AND v.reason <> 'before'"


def tag(stand: Stand) -> None:
    """Give and take tags of our own; those that the store gave are its own."""
    connection = stand.connection
    for name in stand.told.get("add", ()):
        given = (
            "INSERT INTO member_tags (shop_id, member_id, tag, own) "
            f"SELECT e.shop_id, e.member_id, CAST(:tag AS TEXT), :own {_DONE} ON CONFLICT DO NOTHING"
        )
        connection.execute(text(given).bindparams(tag=name, own=True, **stand.binds))
    for name in stand.told.get("remove", ()):
        taken = (
            "DELETE FROM member_tags WHERE shop_id = :shop_id AND tag = :tag AND own "  # noqa: S608
            f"AND member_id IN (SELECT e.member_id {_DONE})"
        )
        connection.execute(text(taken).bindparams(tag=name, **stand.binds))
    # By this, rules that ask for a tag know whom to ask again.
    touched = (
        "UPDATE members SET touched_at = CAST(:now AS BIGINT) WHERE shop_id = :shop_id "  # noqa: S608
        f"AND member_id IN (SELECT e.member_id {_DONE})"
    )
    connection.execute(text(touched).bindparams(**stand.binds))


_POOL = text("SELECT pool_key FROM coupon_pools WHERE shop_id = :shop_id AND pool_key = :pool")
_HAND_OUT = text(
    "UPDATE coupon_codes SET enrolment_id = x.enrolment_id, step_key = :step_key, member_id = x.member_id, "  # noqa: S608
    "handed_at = CAST(:now AS BIGINT) FROM (SELECT c.code, w.enrolment_id, w.member_id FROM "
    "(SELECT code, row_number() OVER (ORDER BY place) AS n FROM coupon_codes "
    "WHERE shop_id = :shop_id AND pool_key = :pool AND handed_at IS NULL AND member_id IS NULL ORDER BY place LIMIT :wanted) AS c JOIN "
    f"(SELECT e.enrolment_id, e.member_id, row_number() OVER (ORDER BY e.enrolment_id) AS n {_DONE} "
    "AND NOT EXISTS (SELECT 1 FROM coupon_codes AS had WHERE had.shop_id = :shop_id AND had.enrolment_id = e.enrolment_id "
    "AND had.step_key = :step_key)) AS w ON c.n = w.n) AS x "
    "WHERE coupon_codes.shop_id = :shop_id AND coupon_codes.pool_key = :pool AND coupon_codes.code = x.code "
    "AND coupon_codes.handed_at IS NULL"
)
_HAS_OWN = text(
    "SELECT 1 FROM coupon_codes WHERE shop_id = :shop_id AND pool_key = :pool AND handed_at IS NULL AND member_id IS NOT NULL LIMIT 1"
)
# A code that was made for a member is theirs alone; of several the first.
_HAND_OUT_OWN = text(
    "UPDATE coupon_codes SET enrolment_id = x.enrolment_id, step_key = :step_key, handed_at = CAST(:now AS BIGINT) "  # noqa: S608
    "FROM (SELECT c.code, w.enrolment_id FROM "
    "(SELECT code, member_id, row_number() OVER (PARTITION BY member_id ORDER BY place) AS n FROM coupon_codes "
    "WHERE shop_id = :shop_id AND pool_key = :pool AND handed_at IS NULL AND member_id IS NOT NULL) AS c JOIN "
    f"(SELECT e.enrolment_id, e.member_id, row_number() OVER (PARTITION BY e.member_id ORDER BY e.enrolment_id) AS n {_DONE}) AS w "
    "ON c.member_id = w.member_id AND c.n = w.n) AS x "
    "WHERE coupon_codes.shop_id = :shop_id AND coupon_codes.pool_key = :pool AND coupon_codes.code = x.code "
    "AND coupon_codes.handed_at IS NULL"
)
_CODE = (
    "(SELECT c.code FROM coupon_codes AS c WHERE c.shop_id = enrolment_events.shop_id "
    "AND c.enrolment_id = enrolment_events.enrolment_id AND c.step_key = :step_key)"
)
_TELL = text(
    f"UPDATE enrolment_events SET detail = COALESCE({_CODE}, ''), reason = CASE WHEN {_CODE} IS NULL THEN '{NO_STOCK}' ELSE '' END "  # noqa: S608
    f"WHERE shop_id = :shop_id AND (enrolment_id, seq) IN (SELECT v.enrolment_id, v.seq {_DONE})"
)


def hold_pools(connection: Connection, shop_id: int, known: Iterable[Version]) -> None:
    """Take the pools that several steps hand out of all at once, by their names, so that journeys of the same pools wait in one order."""
    steps = [step for version in known for step in walk(version.journey.flow.steps)]
    pools = {step.told["pool"] for step in steps if step.kind == "coupon"}
    if len(pools) > 1 and connection.dialect.name != "sqlite":
        p = coupon_pools.c
        held = select(p.pool_key).where(p.shop_id == shop_id, p.pool_key.in_(sorted(pools))).order_by(p.pool_key)
        connection.execute(held.with_for_update()).all()


def coupon(stand: Stand, wanted: int) -> None:
    """Hand out a code of the pool to each, none twice: their own where one was made for them. Who finds none goes on without."""
    pool = {**stand.binds, "pool": stand.told["pool"]}
    ours = {name: pool[name] for name in ("shop_id", "pool")}
    held = _POOL if stand.is_sqlite else text(f"{_POOL.text} FOR UPDATE")
    if stand.connection.execute(held, ours).first() is not None:
        # One at a time: two journeys may hand out of one pool.
        if stand.connection.execute(_HAS_OWN, ours).first() is not None:
            stand.connection.execute(_HAND_OUT_OWN, pool)
        stand.connection.execute(_HAND_OUT, {**pool, "wanted": wanted})
    stand.connection.execute(_TELL, stand.binds)


def task(stand: Stand) -> None:
    """A task for a person about each."""
    first, node = reserve_ids(_MOST)
    due_on = local_day(stand.now, stand.shop.timezone) + timedelta(days=stand.told["due_days"])
    made = (
        "INSERT INTO tasks (shop_id, task_id, journey_key, step_key, enrolment_id, member_id, title, owner, due_on, created_at, "
        "done_by, outcome) "
        f"SELECT e.shop_id, {id_sql('CAST(:first AS BIGINT) + row_number() OVER ()', node)}, e.journey_key, e.step_key, e.enrolment_id, "
        f"e.member_id, CAST(:title AS TEXT), CAST(:owner AS TEXT), CAST(:due_on AS INTEGER), CAST(:now AS BIGINT), '', '' {_DONE} "
        "ON CONFLICT DO NOTHING"
    )
    told = {"title": to_json(stand.told["title"]), "owner": stand.told["owner"], "due_on": day_number(due_on)}
    stand.connection.execute(text(made).bindparams(first=first, **told, **stand.binds))


# Ids for one statement; more tasks at once than people could ever do.
_MOST = 1_000_000
# Members whose levels are written with one handful of statements.
_PAGE = 10_000


def tier(stand: Stand) -> None:
    """Fix a level by hand for each, or invite them. What the programme does not allow is noted, and they go on."""
    ids = stand.connection.execute(text(f"SELECT e.member_id {_DONE}"), stand.binds).scalars().all()
    told = stand.told
    desk = by_hand.Desk(
        stand.connection, stand.shop, stand.now, f"journey {stand.version.journey.key}", told["program"]
    )
    until = desk.today + timedelta(days=told["until_days"]) if "until_days" in told else None
    try:
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            if told.get("invite"):
                by_hand.invite_all(desk, page, told["level"], until)
            else:
                by_hand.fix_all(desk, page, told["level"], told["reason"], until)
    except CrmError as error:
        refused = (
            "UPDATE enrolment_events SET reason = :refused, detail = :detail WHERE shop_id = :shop_id "  # noqa: S608
            f"AND (enrolment_id, seq) IN (SELECT v.enrolment_id, v.seq {_DONE})"
        )
        values = {"refused": REFUSED, "detail": "".join(error.message), **stand.binds}
        stand.connection.execute(text(refused).bindparams(**values))
