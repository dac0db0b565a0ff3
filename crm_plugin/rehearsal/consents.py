"""What members had agreed to at an instant, out of the log alone: the newest statement decides, a refusal wins a tie."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.records import ConsentState
from crm_plugin.store.bulk import execute

# As `store.consent` decides, of those topics in which something was said later.
_DECIDES = f"""
INSERT INTO member_consents (shop_id, member_id, channel, topic, state, at, source, changed_at)
SELECT shop_id, member_id, channel, topic, state, at, source, recorded_at FROM (
    SELECT c.*, ROW_NUMBER() OVER (
        PARTITION BY c.member_id, c.channel, c.topic ORDER BY c.at DESC, c.state = '{ConsentState.WITHDRAWN}' DESC, c.consent_id
    ) AS place
    FROM consents AS c WHERE c.shop_id = ? AND (c.member_id, c.channel, c.topic) IN (SELECT member_id, channel, topic FROM turned)
) WHERE place = 1
"""  # noqa: S608


def take_back(connection: Connection, shop_id: int) -> None:
    """What holds, without the statements set aside; those still in the log are taken out after this."""
    _turned(connection, "SELECT DISTINCT member_id, channel, topic FROM later_consents")
    execute(
        connection,
        "DELETE FROM consents WHERE (shop_id, consent_id) IN (SELECT shop_id, consent_id FROM later_consents)",
    )
    _decide(connection, shop_id)


def settle(connection: Connection, shop_id: int, low: int, high: int) -> None:
    """What holds, after statements have come."""
    _turned(
        connection,
        f"SELECT DISTINCT member_id, channel, topic FROM later_consents WHERE comes_at > {low} AND comes_at <= {high}",  # noqa: S608
    )
    _decide(connection, shop_id)


def _turned(connection: Connection, query: str) -> None:
    execute(connection, "CREATE TEMP TABLE IF NOT EXISTS turned (member_id INTEGER, channel TEXT, topic TEXT)")
    execute(connection, "DELETE FROM turned")
    execute(connection, f"INSERT INTO turned {query}")


def _decide(connection: Connection, shop_id: int) -> None:
    if not execute(connection, "SELECT 1 FROM turned LIMIT 1").first():
        return
    execute(
        connection,
        "DELETE FROM member_consents WHERE shop_id = ? AND (member_id, channel, topic) IN (SELECT * FROM turned)",
        (shop_id,),
    )
    execute(connection, _DECIDES, (shop_id,))
