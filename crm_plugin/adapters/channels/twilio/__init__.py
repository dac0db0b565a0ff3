"""Text messages through Twilio."""

from crm_plugin.adapters.channels.twilio.adapter import TwilioChannel

__all__ = ["TwilioChannel"]
