"""Questions that a message asks and a member answers with one click; the answer is kept as a tag of ours, so any rule can ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import bulk, member_tags, members
from crm_plugin.store.members import lock, present_id
from crm_plugin.touchpoints.scene import AnswersView, AnswerView
from crm_plugin.touchpoints.tokens import Answered


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its text and its answers by language; `tag` is what stands before an answer in the tag that it leaves."""

    key: str
    tag: str
    text: Mapping[str, str]
    answers: Mapping[str, Mapping[str, str]]

    def tag_of(self, answer: str) -> str:
        """The tag that an answer leaves: `left:price`."""
        return f"{self.tag}:{answer}"


QUESTIONS: dict[str, Question] = {
    one.key: one
    for one in (
        Question(
            "why_left",
            "left",
            {"en": "What kept you away?", "zh": "是什么让您没有再来？"},
            {
                "unhappy": {"en": "Something was not as it should be", "zh": "有地方没让我满意"},
                "price": {"en": "The price", "zh": "价格不合适"},
                "variety": {"en": "I wanted something different", "zh": "想换换花样"},
                "rival": {"en": "I found another shop", "zh": "在别家买了"},
                "moved": {"en": "I have moved", "zh": "搬家了"},
                "no_need": {"en": "I simply had no need", "zh": "暂时用不上"},
            },
        ),
        Question(
            "invitation",
            "invitation",
            {"en": "Would you like to join?", "zh": "您愿意加入吗？"},
            {
                "yes": {"en": "Yes, I would like to", "zh": "我愿意加入"},
                "no": {"en": "No, thank you", "zh": "暂时不了，谢谢"},
            },
        ),
    )
}


def view(link: Callable[[str, str], str], locale: str) -> AnswersView:
    """The answers to each question, in the member's language; `link` makes the address of one from question and answer."""
    return AnswersView(**{key: _answers(question, link, locale) for key, question in QUESTIONS.items()})


def _answers(question: Question, link: Callable[[str, str], str], locale: str) -> tuple[AnswerView, ...]:
    language = "zh" if locale.lower().startswith("zh") else "en"
    return tuple(AnswerView(text[language], link(question.key, answer)) for answer, text in question.answers.items())


def question_of(told: Answered) -> Question:
    """The question a link is about. Raises: InvalidInput for one that is asked no more, or an answer it does not have."""
    question = QUESTIONS.get(told.question)
    if question is None or told.answer not in question.answers:
        raise InvalidInput(
            phrase("This question is not asked any more."), field="token", hint=phrase("Write to the shop.")
        )
    return question


def given(connection: Connection, told: Answered) -> str:
    """What the member has answered to the question so far; empty for nothing."""
    question = question_of(told)
    t = member_tags.c
    tags = [question.tag_of(answer) for answer in question.answers]
    query = select(t.tag).where(t.shop_id == told.shop_id, t.member_id == told.member_id, t.tag.in_(tags), t.own)
    found = connection.execute(query.order_by(t.tag).limit(1)).scalar()
    return found.split(":", 1)[1] if found else ""


def answer(connection: Connection, told: Answered, now: datetime) -> bool:
    """Keep an answer in place of an earlier one; False when the member is gone. The same twice changes nothing."""
    question = question_of(told)
    lock(connection, told.shop_id)
    member_id = present_id(connection, told.shop_id, told.member_id)
    if member_id is None:
        return False
    about = replace(told, member_id=member_id)
    if given(connection, about) == told.answer:
        return True
    t, m = member_tags.c, members.c
    others = [question.tag_of(one) for one in question.answers]
    connection.execute(
        delete(member_tags).where(t.shop_id == told.shop_id, t.member_id == member_id, t.tag.in_(others), t.own)
    )
    columns = ("shop_id", "member_id", "tag", "own")
    row = (told.shop_id, member_id, question.tag_of(told.answer), True)
    bulk.upsert_rows(connection, member_tags, columns, columns[:3], "own = excluded.own", [row])
    connection.execute(
        update(members).where(m.shop_id == told.shop_id, m.member_id == member_id).values(touched_at=now)
    )
    return True
