"""Facts for toy StrategyQA: weights, heights, speeds, life spans, deaths and inventions.

The values are rounded and well known.
"""

from typing import NamedTuple


class Property(NamedTuple):
    plan: str
    """The step that says what to compare."""
    fact: str
    total: str
    """The sentence about several things; "" if the values do not add up."""
    several: str
    more: tuple[tuple[str, str], ...]
    """(auxiliary, rest) of questions whether the left thing has more."""
    less: tuple[tuple[str, str], ...]
    """(auxiliary, rest) of questions whether the left thing has less."""
    values: dict[str, float]
    """Value by name with article. The plural follows after a slash if several make sense."""


WEIGHT = Property(
    plan="We compare their weights.",
    fact="{thing} weighs about {value} kg.",
    total="So {count} {things} weigh {count} * {value} = {total} kg.",
    several="{count} {things} together",
    more=(
        ("could", "outweigh {right}"),
        ("would", "be heavier than {right}"),
        ("would", "weigh more than {right}"),
    ),
    less=(("would", "be lighter than {right}"), ("would", "weigh less than {right}")),
    values={
        "a hen/hens": 2,
        "a brick/bricks": 3,
        "a cat/cats": 4,
        "a fox/foxes": 6,
        "a bicycle/bicycles": 12,
        "a wolf/wolves": 40,
        "a sheep/sheep": 70,
        "a pig/pigs": 150,
        "a lion/lions": 190,
        "a grand piano/grand pianos": 450,
        "a horse/horses": 500,
        "a cow/cows": 600,
        "a car/cars": 1400,
        "a rhino/rhinos": 2000,
        "an elephant/elephants": 5000,
        "a bus/buses": 12000,
        "a blue whale/blue whales": 150000,
    },
)
HEIGHT = Property(
    plan="We compare their heights.",
    fact="{thing} is about {value} metres tall.",
    total="So {count} {things} make {count} * {value} = {total} metres.",
    several="{count} {things} on top of each other",
    more=(
        ("would", "be taller than {right}"),
        ("would", "be higher than {right}"),
        ("could", "tower over {right}"),
    ),
    less=(("would", "be lower than {right}"), ("would", "be smaller than {right}")),
    values={
        "a table/tables": 0.7,
        "a horse/horses": 1.6,
        "a door/doors": 2,
        "an elephant/elephants": 3,
        "a bus/buses": 3,
        "a giraffe/giraffes": 5,
        "an oak tree/oak trees": 25,
        "the Leaning Tower of Pisa": 56,
        "the Statue of Liberty": 93,
        "Big Ben": 96,
        "the Eiffel Tower": 330,
        "the Burj Khalifa": 828,
        "Mount Fuji": 3776,
        "Mont Blanc": 4800,
        "Mount Everest": 8849,
    },
)
SPEED = Property(
    plan="We compare their speeds.",
    fact="{thing} moves at about {value} km/h.",
    total="",
    several="",
    more=(
        ("could", "overtake {right}"),
        ("would", "be faster than {right}"),
        ("would", "win a race against {right}"),
    ),
    less=(("would", "be slower than {right}"), ("would", "lose a race against {right}")),
    values={
        "a snail": 0.05,
        "a walker": 5,
        "a jogger": 10,
        "a cyclist": 20,
        "a container ship": 40,
        "a running horse": 60,
        "a running ostrich": 70,
        "a running cheetah": 110,
        "a high-speed train": 300,
        "a racing car": 320,
        "an airliner": 900,
        "a space rocket": 28000,
    },
)
LIFE = Property(
    plan="We compare their life spans.",
    fact="{thing} lives for about {value} years.",
    total="",
    several="",
    more=(("would", "usually outlive {right}"), ("would", "usually live longer than {right}")),
    less=(
        ("would", "usually die younger than {right}"),
        ("would", "usually have a shorter life than {right}"),
    ),
    values={
        "a mouse": 2,
        "a hamster": 3,
        "a hen": 8,
        "a rabbit": 9,
        "a dog": 12,
        "a cat": 15,
        "a cow": 20,
        "a horse": 25,
        "an elephant": 60,
        "a giant tortoise": 120,
        "a bowhead whale": 200,
        "an oak tree": 500,
        "a giant sequoia": 3000,
    },
)
DEATHS = {  # year of death
    "Joan of Arc": 1431,
    "Columbus": 1506,
    "Luther": 1546,
    "Shakespeare": 1616,
    "Galileo": 1642,
    "Newton": 1727,
    "Bach": 1750,
    "Mozart": 1791,
    "Napoleon": 1821,
    "Beethoven": 1827,
    "Goethe": 1832,
    "Lincoln": 1865,
    "Darwin": 1882,
    "Queen Victoria": 1901,
    "Tolstoy": 1910,
    "Edison": 1931,
    "Marie Curie": 1934,
    "Gandhi": 1948,
    "Einstein": 1955,
    "Picasso": 1973,
    "Elvis Presley": 1977,
    "Nelson Mandela": 2013,
}
INVENTIONS = {  # year, and what one could do with it
    "the telescope": (1608, "have used a telescope"),
    "the public railway": (1825, "have travelled by train"),
    "the camera": (1839, "have posed for a camera"),
    "the telephone": (1876, "have made a phone call"),
    "the light bulb": (1879, "have read by the light of a bulb"),
    "the car": (1886, "have driven a car"),
    "the radio": (1895, "have listened to the radio"),
    "the aeroplane": (1903, "have flown in an aeroplane"),
    "television": (1926, "have watched television"),
    "the World Wide Web": (1991, "have read a web page"),
}
