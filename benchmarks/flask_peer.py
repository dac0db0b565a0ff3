"""What a plugin of the usual parts is made of, each a process of its own: pages by Flask and SQLAlchemy, a Celery worker, Celery's clock.

`python -m benchmarks.flask_peer web|worker|beat FOLDER`. The broker is a folder, so that no server of messages is counted. The page is
served by the same server as ours, and `web` prints its address.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from sqlalchemy import DateTime, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

_PAGE = "<!doctype html><title>{{ title }}</title><p>{{ count }} visits</p>"


class Base(DeclarativeBase):
    """The tables."""


class Visit(Base):
    """When the page was looked at, or the clock has struck."""

    __tablename__ = "visits"
    visit_id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime)


def _session(folder: Path) -> Session:
    engine = create_engine(f"sqlite:///{folder / 'peer.sqlite3'}")
    Base.metadata.create_all(engine)
    return Session(engine)


def _noted(session: Session) -> int:
    session.add(Visit(at=datetime.now(UTC)))
    session.commit()
    return session.scalar(select(func.count(Visit.visit_id))) or 0


def visits(folder: Path) -> int:
    """How many visits were noted so far."""
    with _session(folder) as session:
        return session.scalar(select(func.count(Visit.visit_id))) or 0


def jobs(folder: Path) -> Celery:
    """A job that the clock asks for every second; two processes work, as many as `serve` has threads for jobs."""
    app = Celery("peer", broker="filesystem://")
    lines = folder / "broker"
    lines.mkdir(exist_ok=True)
    app.conf.update(
        broker_transport_options={name: str(lines) for name in ("data_folder_in", "data_folder_out", "control_folder")},
        beat_schedule={"tick": {"task": "tick", "schedule": 1.0}},
        beat_schedule_filename=str(folder / "beat"),
        worker_concurrency=2,
        worker_enable_remote_control=False,
    )
    session = _session(folder)

    @app.task(name="tick")  # type: ignore[untyped-decorator]
    def tick() -> int:
        return _noted(session)

    return app


def pages(folder: Path) -> None:
    """Serve the page."""
    from flask import Flask, render_template_string

    from crm_plugin.web.server import listening

    app, session = Flask(__name__), _session(folder)

    @app.get("/")
    def page() -> str:
        return render_template_string(_PAGE, title="Peer", count=_noted(session))

    with listening(app, "127.0.0.1", 0) as url:
        print(url, flush=True)
        sys.stdin.read()


def main() -> None:
    """Be one of the three."""
    role, folder = sys.argv[1], Path(sys.argv[2])
    if role == "web":
        pages(folder)
    elif role == "worker":
        jobs(folder).worker_main(["worker", "--without-gossip", "--without-mingle", "--loglevel", "ERROR"])
    else:
        jobs(folder).Beat(loglevel="ERROR", quiet=True).run()


if __name__ == "__main__":
    main()
