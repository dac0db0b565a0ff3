"""Taobao and Tmall shops, over Alibaba's Open Platform (TOP)."""

from crm_plugin.adapters.storefronts.taobao.adapter import TaobaoStorefront

__all__ = ["TaobaoStorefront"]
