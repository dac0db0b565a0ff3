"""Names and places for made-up people. Any likeness to a person is chance; addresses end in .example or .test, which nobody can own."""

from __future__ import annotations

from dataclasses import dataclass

# Name as it is written, and as it stands in an e-mail address.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A city with its postcode."""

    city: str
    postcode: str


@dataclass(frozen=True, slots=True)
class Country:
    """Where people live: share of the members in per mille, value added tax in per cent, and how people are named there."""

    code: str
    share: int
    tax: int
    names: str
    streets: tuple[str, ...]
    places: tuple[Place, ...]


def _latin(words: str) -> tuple[Name, ...]:
    plain = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "ë": "e", "ç": "c", "'": ""})
    return tuple((word, word.lower().translate(plain)) for word in words.split())


def _pairs(words: str) -> tuple[Name, ...]:
    parts = words.split()
    return tuple(zip(parts[::2], parts[1::2], strict=True))


def _places(text: str) -> tuple[Place, ...]:
    return tuple(Place(*(part.strip() for part in entry.split("|"))) for entry in text.split(";"))


FIRST: dict[str, tuple[Name, ...]] = {
    "en": _latin(
        "Amelia Oliver Isla George Ava Noah Mia Arthur Ivy Leo Lily Oscar Freya Theo Grace Henry Poppy Jack Willow Finley "
        "Ella Archie Rosie Lucas Phoebe Edward Alice Toby Harriet Rory Maeve Callum Niamh Ewan Tessa Miles Hazel Jude Nora Felix"
    ),
    "de": _latin(
        "Emilia Jonas Lena Finn Marlene Anton Greta Moritz Klara Emil Frieda Jakob Lotte Matthias Jürgen Käthe Björn Annika Sören Heike"
    ),
    "fr": _latin(
        "Camille Hugo Chloé Théo Manon Jules Léa Gabriel Élise Raphaël Zoé Maël Inès Bastien Noémie Rémi Lucie Étienne Margaux Loïc"
    ),
    "zh": _pairs(
        "伟 wei 芳 fang 娜 na 敏 min 静 jing 丽 li 强 qiang 磊 lei 洋 yang 艳 yan 勇 yong 杰 jie 娟 juan 涛 tao 明 ming 超 chao "
        "秀英 xiuying 子涵 zihan 雨桐 yutong 浩然 haoran 欣怡 xinyi 思远 siyuan 佳琪 jiaqi 梓萱 zixuan 嘉豪 jiahao 一诺 yinuo "
        "晓彤 xiaotong 俊杰 junjie 诗涵 shihan 文博 wenbo"
    ),
}
LAST: dict[str, tuple[Name, ...]] = {
    "en": _latin(
        "Ashdown Barrow Calloway Denholm Eastwick Fairley Garside Hollins Ingleby Jessop Kirkwood Langley Marlowe Northcote Oakden "
        "Pemberton Quimby Radley Selwyn Thornbury Upton Varley Wainwright Yarrow O'Hara Penrose Trevelyan Lockhart Winslow Halloran"
    ),
    "de": _latin(
        "Ackermann Birnbaum Dornbusch Eichhorn Falkner Grünwald Hagedorn Jäger Kästner Lindemann Möller Nussbaum Rosenthal Schäfer Voß"
    ),
    "fr": _latin(
        "Aubert Beaumont Carpentier Delacroix Fontaine Garnier Lefèvre Marchand Noël Perrault Rousseau Sabatier Tessier Valois Girard"
    ),
    "zh": _pairs(
        "王 wang 李 li 张 zhang 刘 liu 陈 chen 杨 yang 赵 zhao 黄 huang 周 zhou 吴 wu 徐 xu 孙 sun 胡 hu 朱 zhu 高 gao 林 lin "
        "何 he 郭 guo 马 ma 罗 luo 欧阳 ouyang 诸葛 zhuge"
    ),
}
MAIL_DOMAINS = (
    "inbox.example", "post.example", "mailbox.test", "home.example", "letters.test", "quickmail.example",
)  # fmt: skip

_ENGLISH_STREETS = ("Sample Street", "Orchard Lane", "Mill Road", "Harbour Row", "Chapel Hill", "Station Road")
_GERMAN_STREETS = ("Musterstraße", "Gartenweg", "Am Mühlbach", "Lindenallee")
_FRENCH_STREETS = ("rue des Exemples", "avenue du Moulin", "place du Marché")
_CHINESE_STREETS = ("示例路", "茶园街", "临江大道", "梧桐巷")

COUNTRIES: tuple[Country, ...] = (
    Country(
        "GB", 480, 20, "en", _ENGLISH_STREETS,
        _places("London|EC1A 1AA; Leeds|LS1 1AA; Bristol|BS1 1AA; Edinburgh|EH1 1AA; Manchester|M1 1AA; Cardiff|CF10 1AA"),
    ),
    Country("CN", 190, 0, "zh", _CHINESE_STREETS, _places("上海|200000; 北京|100000; 广州|510000; 杭州|310000; 成都|610000")),
    Country("DE", 120, 19, "de", _GERMAN_STREETS, _places("Berlin|10115; Hamburg|20095; München|80331; Köln|50667")),
    Country(
        "US", 110, 0, "en", _ENGLISH_STREETS,
        _places("New York|10001; Chicago|60601; Denver|80202; Los Angeles|90001; Seattle|98101"),
    ),
    Country("FR", 50, 20, "fr", _FRENCH_STREETS, _places("Paris|75001; Lyon|69001; Nantes|44000")),
    Country("IE", 30, 23, "en", _ENGLISH_STREETS, _places("Dublin|D01 A000; Cork|T12 A000")),
    Country("AU", 20, 0, "en", _ENGLISH_STREETS, _places("Sydney|2000; Melbourne|3000")),
)  # fmt: skip
