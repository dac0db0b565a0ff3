"""A real WordPress on this machine, served by PHP itself, with a database of its own. It tells everything it has to complain of."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from tests.live.machine import Program, end, free_port, run, start
from tests.live.wordpress.cores import Core, put
from tests.live.wordpress.mariadb import MariaDb

HERE = Path(__file__).parent / "php"
OWNER, PASSWORD = "owner", "live-password"
_SECONDS = 120
# Questions of our server come in while a page of the store waits for that server.
_WORKERS = "4"
_COMPLAINT = re.compile("PHP [A-Z][a-z]+(:| error:)")
_INSTALL = """
define( 'WP_INSTALLING', true );
require 'wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install( 'Teas', $argv[1], 'owner@shop.example', true, '', $argv[2] );
global $wp_rewrite;
$wp_rewrite->set_permalink_structure( '/%postname%/' );
"""
_ASK = """
require 'wp-load.php';
$found = ( static function ( array $told ) { %s } )( json_decode( $argv[1], true ) );
echo "\n", json_encode( $found );
"""


class LiveWordPress(Program):
    """The running site. `url` is its address; `port` is that of our server, whose `certificate` it believes."""

    def __init__(self, core: Core, database: MariaDb, folder: Path, *, port: int, certificate: Path) -> None:
        self.version = core.version
        self.site = folder / "site"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._complaints = folder / "complaints.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"
        put(core, self.site)
        name = f"wordpress_{core.version.replace('.', '_')}"
        database.make(name)
        constants = {
            "DB_NAME": name, "DB_USER": MariaDb.USER, "DB_PASSWORD": "", "DB_HOST": f"localhost:{database.socket}",
            "DB_CHARSET": "utf8mb4", "DB_COLLATE": "", "WP_HOME": self.url, "WP_SITEURL": self.url,
            "FS_METHOD": "direct", "DISABLE_WP_CRON": True, "WP_ENVIRONMENT_TYPE": "local",
            "WP_DEBUG": True, "WP_DEBUG_DISPLAY": False, "WP_DEBUG_LOG": str(self._complaints),
            "CRM_LIVE_PORT": port, "CRM_LIVE_CERTIFICATE": str(certificate),
        }  # fmt: skip
        (self.site / "wp-config.php").write_text(_config(constants), encoding="utf-8")
        shutil.copy(HERE / "trial.php", self.site / "wp-content" / "mu-plugins")

    def begin(self) -> None:
        """Set it up and start it."""
        self._php(_INSTALL, OWNER, PASSWORD)
        self._start()

    def stop(self) -> None:
        """End the server."""
        end(self._process)

    def ask(self, code: str, **told: Any) -> Any:
        """What a PHP function body returns inside WordPress; it is given `$told`."""
        return json.loads(self._php(_ASK % code, json.dumps(told)).rpartition("\n")[2])

    def add_stand_in(self) -> None:
        """The stand-in for WooCommerce, not yet active."""
        target = self.site / "wp-content" / "plugins" / "woocommerce"
        target.mkdir()
        for file in HERE.glob("*.php"):
            if file.name != "trial.php":
                shutil.copy(file, target)

    def complaints(self) -> str:
        """All that WordPress and PHP complained of, from notices on; empty at best."""
        told = self._complaints.read_text(encoding="utf-8") if self._complaints.exists() else ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return told + "\n".join(line for line in lines if _COMPLAINT.search(line))

    def _start(self) -> None:
        address = self.url.removeprefix("http://")
        command = ("php", "-d", "log_errors=1", "-S", address, "-t", str(self.site))
        environment = {**os.environ, "PHP_CLI_SERVER_WORKERS": _WORKERS}
        self._process = start(*command, log=self._log, folder=self.site, environment=environment)
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            assert self._process.poll() is None, self._log.read_text(encoding="utf-8")[-2000:]
            try:
                requests.get(f"{self.url}/wp-json/", timeout=30).json()
                return
            except requests.RequestException:
                time.sleep(0.2)
        raise AssertionError("WordPress did not start")

    def _php(self, code: str, *arguments: str) -> str:
        return run("php", "-r", code, "--", *arguments, folder=self.site, seconds=_SECONDS)


def _config(constants: dict[str, Any]) -> str:
    lines = [f"define( {json.dumps(name)}, {json.dumps(value)} );" for name, value in constants.items()]
    ends = ["$table_prefix = 'wp_';", "defined( 'ABSPATH' ) || define( 'ABSPATH', __DIR__ . '/' );"]
    return "\n".join(["<?php", *lines, *ends, "require_once ABSPATH . 'wp-settings.php';", ""])
