"""Real brokers for the tests, on free ports of this machine, in folders of their own: Redis and RabbitMQ as Debian packages them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_REDIS = "redis-server"
# The package's own script in /usr/sbin goes over to another user, who may not write here.
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START_SECONDS = 60.0


class Broker:
    """A broker that is started, killed and started again with what it had written; `stop()` removes it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="crm-broker-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it takes connections. Raises: RuntimeError with the end of its log."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                told = (self._folder / "log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self._command()[0]} did not start: {told}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as when the machine fails."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _answers(self) -> bool:
        raise NotImplementedError


class Redis(Broker):
    """Redis; what it holds is written at once, so that a kill loses only what was not answered."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def _command(self) -> list[str]:
        where = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        return [_REDIS, *where, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]

    def _answers(self) -> bool:
        return _says(self._port, b"PING\r\n", b"+PONG")


class RabbitMQ(Broker):
    """RabbitMQ with its own Erlang port mapper, so that nothing outlives it."""

    def __init__(self) -> None:
        super().__init__()
        self._mapper, self._inner = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def _command(self) -> list[str]:
        return [str(_RABBITMQ)]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": f"crm{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._inner),
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none-env"),
            "RABBITMQ_LOGS": "-",
        }

    def _answers(self) -> bool:
        return _says(self._port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")

    def kill(self) -> None:
        super().kill()
        # The port mapper leaves its parent's group.
        subprocess.run(["epmd", "-port", str(self._mapper), "-kill"], capture_output=True, check=False)


def start(broker: type[Broker]) -> Broker:
    """A running broker. Raises: RuntimeError saying what to install."""
    if broker is Redis and shutil.which(_REDIS) is None:
        raise RuntimeError("Redis is missing: apt-get install redis-server")
    if broker is RabbitMQ and not _RABBITMQ.exists():
        raise RuntimeError("RabbitMQ is missing: apt-get install rabbitmq-server")
    made = broker()
    made.start()
    return made


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _says(port: int, asked: bytes, begins: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(asked)
            return connection.recv(64).startswith(begins)
    except OSError:
        return False
