"""What the made-up shop sells: teas by weight, cups by colour, pots, gifts; each with a price, tax included, and a cost."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# Category, name, SKU, options with their prices in pence (one without a name: no variants), popularity.
_RANGE: tuple[tuple[str, str, str, tuple[tuple[str, int], ...], int], ...] = (
    ("Green tea", "Longjing 龙井", "TEA-LJ", (("50 g", 890), ("100 g", 1590), ("250 g", 3490)), 90),
    ("Green tea", "Biluochun 碧螺春", "TEA-BLC", (("50 g", 990), ("100 g", 1790)), 55),
    ("Green tea", "Jasmine pearls 茉莉龙珠", "TEA-JP", (("50 g", 790), ("100 g", 1390), ("250 g", 2990)), 80),
    ("Green tea", "Sencha", "TEA-SEN", (("50 g", 690), ("100 g", 1190), ("250 g", 2590)), 60),
    ("Black tea", "Keemun 祁门红茶", "TEA-KM", (("50 g", 790), ("100 g", 1390)), 50),
    ("Black tea", "Lapsang 正山小种", "TEA-LS", (("50 g", 850), ("100 g", 1490)), 40),
    ("Black tea", "Assam breakfast", "TEA-AB", (("100 g", 790), ("250 g", 1690), ("500 g", 2990)), 95),
    ("Black tea", "Earl Grey", "TEA-EG", (("100 g", 850), ("250 g", 1790)), 100),
    ("Oolong", "Tieguanyin 铁观音", "TEA-TGY", (("50 g", 1090), ("100 g", 1990)), 65),
    ("Oolong", "Da Hong Pao 大红袍", "TEA-DHP", (("50 g", 1890), ("100 g", 3490)), 30),
    ("White tea", "Silver needle 白毫银针", "TEA-SN", (("25 g", 1290), ("50 g", 2390)), 25),
    ("Pu-erh", "Ripe pu-erh cake 熟普洱", "TEA-PRC", (("100 g", 1690), ("357 g", 4990)), 28),
    ("Herbal", "Chrysanthemum 菊花", "TEA-CHR", (("50 g", 590), ("100 g", 990)), 45),
    ("Herbal", "Rooibos", "TEA-ROO", (("100 g", 690), ("250 g", 1490)), 40),
    ("Herbal", "Peppermint", "TEA-PEP", (("50 g", 450), ("100 g", 790)), 50),
    ("Teaware", "Celadon cup", "CUP-CEL", (("Jade", 1450), ("Sky", 1450), ("Ink", 1650)), 50),
    ("Teaware", "Stoneware mug", "MUG-STO", (("Sand", 1290), ("Slate", 1290), ("Moss", 1290)), 60),
    ("Teaware", "Glass teapot 600 ml", "POT-GLA", (("", 2890),), 35),
    ("Teaware", "Yixing teapot 紫砂壶", "POT-YIX", (("", 8900),), 10),
    ("Teaware", "Cast-iron kettle", "POT-IRO", (("", 6490),), 12),
    ("Teaware", "Gaiwan 盖碗", "CUP-GAI", (("", 1990),), 30),
    ("Teaware", "Bamboo tray", "ACC-TRA", (("", 2490),), 18),
    ("Accessories", "Steel infuser", "ACC-INF", (("", 790),), 70),
    ("Accessories", "Paper filters, 100 pieces", "ACC-FIL", (("", 390),), 60),
    ("Accessories", "Tea tin", "ACC-TIN", (("Small", 590), ("Large", 890)), 45),
    ("Accessories", "Bamboo scoop", "ACC-SCO", (("", 350),), 25),
    ("Accessories", "Variable kettle 1 l", "KET-VAR", (("", 7900),), 9),
    ("Sweet things", "Osmanthus cake 桂花糕", "SWE-OSM", (("", 690),), 35),
    ("Sweet things", "Ginger biscuits", "SWE-GIN", (("", 450),), 50),
    ("Gifts", "First steps tasting box", "GIF-TAS", (("", 2490),), 55),
    ("Gifts", "Mid-Autumn box 中秋礼盒", "GIF-MID", (("", 3990),), 20),
    ("Gifts", "New Year box 新年礼盒", "GIF-NEW", (("", 4490),), 22),
    ("Gifts", "Afternoon tea hamper", "GIF-HAM", (("", 6900),), 15),
    ("Gifts", "Gift wrapping", "GIF-WRA", (("", 300),), 30),
)


@dataclass(frozen=True, slots=True)
class Item:
    """What can be put in a basket: a simple product or a variant. Price with tax and cost, in minor units; cost None where unknown."""

    product_id: int
    variation_id: int
    title: str
    option: str
    sku: str
    price: int
    cost: int | None
    weight: int


@dataclass(frozen=True, slots=True)
class Product:
    """A product with the items that are sold of it."""

    product_id: int
    title: str
    slug: str
    sku: str
    category: str
    items: tuple[Item, ...]

    @property
    def has_variants(self) -> bool:
        return self.items[0].variation_id != 0


def make_catalogue(rng: Random, first_id: int) -> tuple[Product, ...]:
    """The whole range; ids go up from `first_id`, variants after their product."""
    products, next_id = [], first_id
    for category, title, sku, options, weight in _RANGE:
        product_id, next_id = next_id, next_id + 1
        items = []
        for number, (option, price) in enumerate(options):
            variation_id = 0
            if option:
                variation_id, next_id = next_id, next_id + 1
            # What is bought at small suppliers has no cost on record: about one item in ten.
            cost = price * rng.randint(30, 48) // 100 if rng.random() > 0.1 else None
            code = f"{sku}-{number + 1}" if option else sku
            name = f"{title} - {option}" if option else title
            items.append(
                Item(product_id, variation_id, name, option, code, price, cost, max(1, weight // (number + 1)))
            )
        slug = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in title).lower().split())
        products.append(Product(product_id, title, slug, sku, category, tuple(items)))
    return tuple(products)
