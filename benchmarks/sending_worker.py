"""Our own sending in a process of its own, as a worker does it: `python -m benchmarks.sending_worker JSON`.

`url` is the database, `shops` the ids whose rounds it plays one after another; with `plan` it plans first. It loads what a worker
needs and nothing else, for the peak of its memory is compared.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from benchmarks.processes import serve
from crm_plugin.runtime import calm_collector
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.states import State

BOX = SecretBox("A" * 43 + "=")
# Past the hour at which the recipe greets, on the day of `data.PARTY`.
NOON = datetime(2026, 10, 30, 12, tzinfo=UTC)
_PUBLIC = "https://crm.example"


def send(database: Database, shop: Shop) -> int:
    """Send what is due; answers how many mails the server took."""
    return dispatch_shop(database, BOX, shop, NOON, public_url=_PUBLIC).states[State.ACCEPTED.value]


def main() -> None:
    """Open the database, then play the rounds."""
    told = json.loads(sys.argv[1])
    calm_collector()
    database = Database.at(told["url"])
    with database.read() as connection:
        shops = [shop_by_id(connection, shop_id) for shop_id in told["shops"]]

    def work() -> dict[str, Any]:
        mails = 0
        for shop in shops:
            if told["plan"]:
                plan_shop(database, shop, NOON)
            mails += send(database, shop)
        return {"mails": mails}

    serve(work)


if __name__ == "__main__":
    main()
