"""E-mail through any SMTP server."""

from crm_plugin.adapters.channels.smtp.adapter import SmtpChannel

__all__ = ["SmtpChannel"]
