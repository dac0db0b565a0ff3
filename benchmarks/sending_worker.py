"""Our own sending in a process of its own, as a worker does it: `python -m benchmarks.sending_worker JSON`.

`url` is the database, `shops` the ids whose rounds it plays one after another; with `plan` it plans first.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.processes import serve
from benchmarks.sending import NOON, send
from crm_plugin.runtime import calm_collector
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints.plan import plan_shop


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
