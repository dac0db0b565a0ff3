"""django-post-office sending as many mails of the same words to the same server, in a process of its own.

`python -m benchmarks.post_office JSON`: `folder` for its SQLite file, `port` of the server, `count` of mails, `subject`, `text` and `html`
with `{{ name }}` and `{{ link }}` in them, and its own settings `threads`, `processes`, `batch`. Queueing and sending are measured.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import serve

# So many are queued by one call, as its documentation advises for many mails.
_QUEUED = 1_000


def settings(told: dict[str, Any]) -> dict[str, Any]:
    """Django's settings: SQLite's write-ahead log and commits that last, as ours, and nothing that these mails do not need."""
    return {
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(told["folder"]) / "post_office.sqlite3"),
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"},
            }
        },
        "INSTALLED_APPS": ["django.contrib.contenttypes", "post_office"],
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "EMAIL_BACKEND": "post_office.EmailBackend",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": told["port"],
        "TEMPLATES": [
            {"BACKEND": "django.template.backends.django.DjangoTemplates"},
            {"BACKEND": "post_office.template.backends.post_office.PostOfficeTemplates", "OPTIONS": {}},
        ],
        "POST_OFFICE": {
            "BATCH_SIZE": told["batch"],
            "THREADS_PER_PROCESS": told["threads"],
            # Only failures are logged: with 2, as it comes, each mail is written once more.
            "LOG_LEVEL": 1,
            "BATCH_DELIVERY_TIMEOUT": 600,
        },
        "USE_TZ": True,
        "LOGGING_CONFIG": None,
    }


def main() -> None:
    """Make its tables and its template, then queue and send."""
    told = json.loads(sys.argv[1])
    import django
    from django.conf import settings as django_settings

    django_settings.configure(**settings(told))
    django.setup()
    logging.getLogger("post_office").setLevel(logging.WARNING)
    from django.core.management import call_command
    from post_office.models import EmailTemplate

    call_command("migrate", verbosity=0)
    EmailTemplate.objects.create(
        name="birthday", subject=told["subject"], content=told["text"], html_content=told["html"]
    )
    serve(lambda: _work(told))


def _work(told: dict[str, Any]) -> dict[str, Any]:
    from post_office.mail import send_many, send_queued_mail_until_done
    from post_office.models import STATUS, Email

    count = told["count"]
    for first in range(0, count, _QUEUED):
        send_many([_mail(number) for number in range(first, min(first + _QUEUED, count))])
    send_queued_mail_until_done(str(Path(told["folder"]) / "lock"), told["processes"])
    return {"mails": Email.objects.filter(status=STATUS.sent).count()}


def _mail(number: int) -> dict[str, Any]:
    link = f"https://crm.example/u/{number:060}"
    headers = {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    return {
        "recipients": f"member{number}@example.test",
        "sender": "shop@lantern.example",
        "template": "birthday",
        "context": {"name": f"First{number}", "link": link},
        "headers": headers,
    }


if __name__ == "__main__":
    main()
