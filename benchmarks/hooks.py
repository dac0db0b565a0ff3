"""Webhooks of a store: a thousand in ten seconds to one `serve`, each answered before it is followed, and none lost when it is killed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from sqlalchemy import func, insert, select

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark
from benchmarks.memory import started
from crm_plugin.store import inbox, migrate, shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database

_SECRET, _DOMAIN = "hush", "bench.myshopify.com"
_MOST_MS, _SECONDS, _CALLERS = 200.0, 10.0, 8


@benchmark("hooks.store")
def store_hooks(options: Options) -> Iterator[Result]:
    """Signed webhooks at a hundred a second: how long all but one in twenty wait for the answer."""
    count = 1_000 if options.members >= 1_000 else 50
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        url, key = f"sqlite:///{Path(folder) / 'hooks.sqlite3'}", Fernet.generate_key().decode()
        database = Database.at(url)
        migrate.upgrade(database.engine)
        with database.write() as connection:
            row = {"shop_id": 1, "name": "bench", "platform": "shopify", "currency": "EUR", "timezone": "UTC"}
            # Nobody listens there: what is followed meets a store that is away, as on a bad day.
            sealed = SecretBox(key).seal({"shop": _DOMAIN, "access_token": "t", "base_url": "http://127.0.0.1:9"})
            connection.execute(insert(shops).values(**row, reference=_DOMAIN, credentials=sealed, created_at=data.END))
        environment = {
            **os.environ,
            "CRM_DATABASE_URL": url,
            "CRM_DATA_DIR": folder,
            "CRM_SECRET_KEY": key,
            "CRM_SHOPIFY_CLIENT_ID": "bench",
            "CRM_SHOPIFY_CLIENT_SECRET": _SECRET,
        }
        with started([sys.executable, "-m", "crm_plugin", "serve", "--port", "0"], environment) as process:
            assert process.stdout is not None
            place = urlsplit(process.stdout.readline().split()[-1]).netloc
            waits, answered = _tell(place, count)
        # It was killed; what it said yes to is there.
        with database.read() as connection:
            kept = connection.execute(select(func.count()).select_from(inbox)).scalar() or 0
        database.dispose()
    assert kept >= answered == count, f"{kept} of {answered} answered were kept, {count} were told"
    waits.sort()
    slow = waits[int(len(waits) * 0.95)] * 1_000
    detail = {"told": count, "kept": kept, "median_ms": round(waits[len(waits) // 2] * 1_000, 1)}
    yield Result("hooks: answered, p95", slow, _MOST_MS, "ms", 1.0, False, "200 ms", detail)


def _tell(place: str, count: int) -> tuple[list[float], int]:
    """Tell so many changes, a hundred a second by several callers; how long each waited, and how many were answered with a yes."""
    waits: list[float] = []
    yes: list[int] = []
    began = time.monotonic()
    each = count // _CALLERS

    def call(first: int) -> None:
        line = http.client.HTTPConnection(place, timeout=30)
        for number in range(first, count, _CALLERS):
            pause = began + number * _SECONDS / 1_000 - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            body = json.dumps({"id": number, "admin_graphql_api_id": f"gid://shopify/Customer/{number}"}).encode()
            signed = base64.b64encode(hmac.new(_SECRET.encode(), body, hashlib.sha256).digest()).decode()
            headers = {
                "Content-Type": "application/json",
                "X-Shopify-Topic": "customers/update",
                "X-Shopify-Hmac-Sha256": signed,
                "X-Shopify-Shop-Domain": _DOMAIN,
                "X-Shopify-Webhook-Id": f"w{number}",
            }
            asked = time.monotonic()
            line.request("POST", "/events/shopify", body, headers)
            answer = line.getresponse()
            answer.read()
            waits.append(time.monotonic() - asked)
            if answer.status == 200:
                yes.append(number)
        line.close()

    assert each > 0
    callers = [threading.Thread(target=call, args=(first,)) for first in range(_CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return waits, len(yes)
