"""Texts to members of a Taobao or Tmall shop by their opaque id; Alibaba knows the number."""

from crm_plugin.adapters.channels.taobao_sms.adapter import TaobaoSmsChannel

__all__ = ["TaobaoSmsChannel"]
