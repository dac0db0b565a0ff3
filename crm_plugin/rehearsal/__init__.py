"""A journey, or the whole book, over days past or to come: the engine itself on a copy, with a clock that moves, sending nothing."""

from crm_plugin.rehearsal.ask import Ask
from crm_plugin.rehearsal.result import Result
from crm_plugin.rehearsal.run import rehearse
from crm_plugin.rehearsal.words import in_words

__all__ = ["Ask", "Result", "in_words", "rehearse"]
