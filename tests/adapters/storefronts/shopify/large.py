"""Reads the history of a large shop in a process of its own: `python -m tests.adapters.storefronts.shopify.large ORDERS`.

The file's lines of orders come first, and of all their lines the last order's: the worst order there is. Prints how many records came and
by how many megabytes the process grew at most.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crm_plugin.adapters.storefronts.shopify import ShopifyStorefront
from crm_plugin.records import OrderRecord, Stream
from tests.adapters.storefronts.shopify import shop_rows
from tests.adapters.storefronts.shopify.fake_shop import SHOP, operation_of

LINES = 3


def _file(orders: int) -> Iterator[bytes]:
    row = {name: value for name, value in shop_rows.order(1).items() if name != "lineItems"}
    for number in range(orders):
        yield json.dumps({**row, "id": f"gid://shopify/Order/{number}"}).encode() + b"\n"
    item = shop_rows.line(1)
    for number in reversed(range(orders)):
        for at in range(LINES):
            told = {
                **item,
                "id": f"gid://shopify/LineItem/{number * LINES + at}",
                "__parentId": f"gid://shopify/Order/{number}",
            }
            yield json.dumps(told).encode() + b"\n"


def _answers(address: str) -> dict[str, Any]:
    operation = {"id": "gid://shopify/BulkOperation/1", "status": "COMPLETED", "createdAt": "2026-11-27T12:00:00Z"}
    return {
        "": {"done": {"bulkOperation": operation, "userErrors": []}},
        "BulkRun": {"done": {"bulkOperation": operation, "userErrors": []}},
        "BulkState": {"row": {**operation, "url": f"{address}/file"}},
        "Orders": {"rows": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}},
    }


class _Shop(BaseHTTPRequestHandler):
    orders = 0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = _answers(f"http://{self.headers['Host']}")[operation_of(asked["query"])]
        body = json.dumps({"data": told}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for line in _file(self.orders):
            self.wfile.write(line)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _peak_mb() -> float:
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)


def main(orders: int) -> None:
    """Read them all, and say so."""
    _Shop.orders = orders
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    storefront = ShopifyStorefront({"shop": SHOP, "access_token": "shpat_1", "base_url": address})
    told = lines = 0
    begun = _peak_mb()
    for page in storefront.pages(Stream.ORDERS, ""):
        told += len(page.records)
        lines += sum(len(record.lines) for record in page.records if isinstance(record, OrderRecord))
    sys.stdout.write(json.dumps({"orders": told, "lines": lines, "grown_mb": round(_peak_mb() - begun, 1)}))
    server.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
