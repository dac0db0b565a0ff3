"""Opening a session with a mail server: connect, greet, encrypt, log in, and what it means when that does not work."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from crm_plugin.adapters.channels.smtp.replies import Stage, error_for
from crm_plugin.adapters.channels.smtp.session import Plain, Tls
from crm_plugin.errors import ActionRequired, AdapterError, TransientError
from crm_plugin.phrases import phrase

_LONGEST_CALL = 480.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect and how. `security` is "starttls", "tls" or "none"."""

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    timeout: float
    tls: ssl.SSLContext | None = None

    @property
    def whole(self) -> float:
        """Seconds that a mail may take in all, as may opening the connection: four answers, and less than a claim lasts."""
        return min(4 * self.timeout, _LONGEST_CALL)


def open_session(server: Server) -> Plain:
    """Connect, greet, encrypt, log in. Raises: TransientError, ActionRequired."""
    smtp: Plain | None = None
    told: dict[str, Any] = {"local_hostname": _our_name(), "timeout": server.timeout, "whole": server.whole}
    try:
        if server.security == "tls":
            smtp = Tls(server.host, server.port, context=_tls(server), **told)
        else:
            smtp = Plain(server.host, server.port, **told)
        if smtp.sock is not None:
            # Without it the last part of a body waits for the other side's delayed acknowledgement, 40 ms a mail.
            smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        smtp.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            smtp.starttls(context=_tls(server))
            smtp.ehlo()
        if server.username:
            smtp.login(server.username, server.password)
    except (OSError, ValueError) as error:
        if smtp is not None:
            smtp.close()
        raise _opening_error(server, error) from error
    return smtp


def _opening_error(server: Server, error: Exception) -> AdapterError:
    where = f"{server.host}:{server.port}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return error_for(Stage.LOGIN, error.smtp_code, _text(error))
    if isinstance(error, smtplib.SMTPResponseException):
        return error_for(Stage.CONNECT, error.smtp_code, _text(error))
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return ActionRequired(
            phrase(
                "The mail server %(where)s does not offer what the connection asks for: %(why)s",
                where=where,
                why=error,
            ),
            adapter="smtp",
            operation=Stage.CONNECT.value,
            hint=phrase("Choose another encryption or port, or leave the user name empty if it wants no login."),
        )
    if isinstance(error, UnicodeError):
        return ActionRequired(
            phrase("The mail server's name, the user name or the password holds letters that SMTP cannot carry."),
            adapter="smtp",
            operation=Stage.CONNECT.value,
            hint=phrase("Use letters, digits and signs of a plain English keyboard."),
        )
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        # What it asks for a login cannot be read.
        return error_for(Stage.CONNECT, -1, "")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ActionRequired(
            phrase(
                "The certificate of the mail server %(where)s cannot be trusted: %(why)s.",
                where=where,
                why=error.verify_message,
            ),
            adapter="smtp",
            operation=Stage.CONNECT.value,
            hint=phrase("Use the host name that stands in the certificate."),
        )
    if isinstance(error, ssl.SSLError):
        return ActionRequired(
            phrase("The mail server %(where)s does not speak TLS on this port as set.", where=where),
            adapter="smtp",
            operation=Stage.CONNECT.value,
            hint=phrase("Port 465 goes with TLS, port 587 with STARTTLS."),
        )
    return TransientError(
        _unreached(where, error),
        adapter="smtp",
        operation=Stage.CONNECT.value,
        hint=phrase("Check host and port; the message waits and is tried again."),
    )


def _unreached(where: str, error: Exception) -> str:
    """In plain words where there are some; the system's numbers tell a merchant nothing."""
    if isinstance(error, ConnectionRefusedError):
        return phrase("Nothing answers at %(where)s: no mail server runs there, or it is another port.", where=where)
    if isinstance(error, TimeoutError):
        return phrase("Nothing answers at %(where)s in time: a firewall may stand before it.", where=where)
    if isinstance(error, socket.gaierror):
        return phrase("Nothing answers at %(where)s: no server of that name is known.", where=where)
    if isinstance(error, (ConnectionResetError, smtplib.SMTPServerDisconnected)):
        return phrase("The mail server %(where)s hung up before it said anything.", where=where)
    why = getattr(error, "strerror", None) or error
    return phrase("The mail server %(where)s cannot be reached: %(why)s.", where=where, why=why)


def _tls(server: Server) -> ssl.SSLContext:
    return server.tls or ssl.create_default_context()


def _text(error: smtplib.SMTPResponseException) -> str:
    said = error.smtp_error
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _our_name() -> str:
    """What we call ourselves in EHLO; asking DNS for the full name, as smtplib does, can take seconds."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"
