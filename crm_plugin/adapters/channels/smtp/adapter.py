"""The SMTP channel: settings, sending, check."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType, Severity
from crm_plugin.adapters.channels.base import RATE_SETTING, ChannelAdapter
from crm_plugin.adapters.channels.bodies import forget
from crm_plugin.adapters.channels.mime import Mail, ascii_address, skeleton
from crm_plugin.adapters.channels.smtp.connection import Connection
from crm_plugin.adapters.channels.smtp.flow import SmtpFlow
from crm_plugin.adapters.channels.smtp.opening import Server
from crm_plugin.adapters.channels.smtp.pool import Pool
from crm_plugin.clock import Clock, SystemClock
from crm_plugin.errors import AdapterError, InvalidInput, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult

if TYPE_CHECKING:
    from crm_plugin.adapters.channels.dkim import Signer

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SmtpChannel(ChannelAdapter):
    """E-mail through an SMTP server; connections are kept open and shared by all threads.

    SMTP knows no idempotency key: the Message-ID, made from the touchpoint's key, is what tells a repeat apart.
    """

    name = "smtp"
    label = "SMTP"
    channel = "email"
    capabilities = frozenset({Capability.SEND_MESSAGE, Capability.HTML, Capability.NEEDS_EMAIL})
    settings = (
        Setting("host", "Mail server", help="For example smtp.example.com."),
        Setting("port", "Port", SettingType.INTEGER, "587 with STARTTLS, 465 with TLS.", default=587),
        Setting(
            "security",
            "Encryption",
            SettingType.CHOICE,
            "none only for a server on this machine.",
            default="starttls",
            choices=("starttls", "tls", "none"),
        ),
        Setting("username", "User name", help="Empty when the server wants no login.", required=False, default=""),
        Setting("password", "Password", SettingType.SECRET, "Often an app password.", required=False, default=""),
        Setting("from_address", "Sender address", help="An address this server may send for."),
        Setting("from_name", "Sender name", help="What the inbox shows; the shop's name.", required=False, default=""),
        Setting("reply_to", "Reply address", help="Empty for the sender address.", required=False, default=""),
        Setting("timeout", "Time-out in seconds", SettingType.INTEGER, "For each answer.", required=False, default=30),
        Setting(
            "connections",
            "Connections",
            SettingType.INTEGER,
            "So many mails are handed over at the same time.",
            required=False,
            default=4,
        ),
        Setting(
            "dkim_selector",
            "DKIM selector",
            help="Only where your mail server does not sign: the name of the key in the sender's domain.",
            required=False,
            default="",
        ),
        Setting("dkim_key", "DKIM private key", SettingType.SECRET, "RSA, in PEM form.", False, ""),
        RATE_SETTING,
    )

    def __init__(
        self, values: Mapping[str, Any], *, clock: Clock | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """`clock` gives the Date header; `tls` replaces the system's trust, for a server with its own certificate."""
        super().__init__(values)
        self._clock = clock or SystemClock()
        self.server = Server(
            host=self.values["host"],
            port=_within("port", self.values["port"], 65535),
            security=self.values["security"],
            username=self.values["username"],
            password=self.values["password"],
            timeout=float(_within("timeout", self.values["timeout"], 600)),
            tls=tls,
        )
        for key in ("from_address", "reply_to"):
            _check_address(key, self.values[key])
        self._parallel = _within("connections", self.values["connections"], 64)
        self._signer = self._read_signer()
        self._pool = Pool(self.server)

    def _read_signer(self) -> Signer | None:
        selector, key = self.values["dkim_selector"], self.values["dkim_key"]
        if not selector and not key:
            return None
        # Most mail servers sign themselves: without a key of one's own, nothing that reads keys is loaded.
        from crm_plugin.adapters.channels.dkim import signer

        domain = ascii_address(self.values["from_address"]).rpartition("@")[2].lower()
        try:
            return signer(domain, selector, key)
        except ValueError as error:
            wrong = "dkim_selector" if key and not selector else "dkim_key"
            raise InvalidInput(
                phrase("The DKIM key cannot be used: %(why)s.", why=error),
                field=wrong,
                hint=phrase("Fill in selector and key, or leave both empty where the mail server signs."),
            ) from error

    @property
    def parallel(self) -> int:
        """As many as there may be connections."""
        return self._parallel

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Hand one mail over. The message's own sender goes before the connection's."""
        mail = self.built(message)
        self._pool.send(mail)
        return SendResult(mail.message_id)

    def flow(self) -> SmtpFlow:
        """Mails over several connections, by one thread."""
        return SmtpFlow(self._pool, self.built, self._parallel)

    def built(self, message: Message) -> Mail:
        """The mail as it goes over the wire. Raises: PermanentError, RecipientRefused."""
        if not (message.text or message.html):
            raise PermanentError(phrase("The message is empty."), adapter=self.name, operation="build")
        form = skeleton(
            message.sender or self.values["from_address"],
            message.sender_name or self.values["from_name"],
            message.reply_to or self.values["reply_to"],
        )
        mail = form.build(message, date=self._clock.now())
        # A signature of another domain than the sender's says nothing to who receives it.
        if self._signer is None or form.domain.lower() != self._signer.domain:
            return mail
        return replace(mail, data=self._signer.sign(mail.data))

    def check(self) -> list[Problem]:
        """Connect, encrypt, log in, leave."""
        try:
            Connection(self.server).close()
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        if self.server.security == "none" and self.server.host not in _LOOPBACK:
            return [
                Problem(
                    "no_encryption",
                    phrase("Mail and password go to the server unencrypted."),
                    phrase("Choose STARTTLS or TLS."),
                    Severity.WARNING,
                )
            ]
        return []

    def close(self) -> None:
        """Close the kept connections, and keep nothing of the mails either."""
        self._pool.close()
        forget()


def _within(key: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidInput(
            phrase("The %(key)s must be between 1 and %(most)s, not %(value)s.", key=key, most=most, value=value),
            field=key,
        )
    return value


def _check_address(key: str, value: str) -> None:
    if not value:
        return
    try:
        ascii_address(value)
    except ValueError as error:
        raise InvalidInput(
            phrase("%(value)r cannot be used: %(why)s.", value=value, why=error),
            field=key,
            hint=phrase("Like shop@example.com."),
        ) from error
