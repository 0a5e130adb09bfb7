"""The sentences of bioS: 50 templates for each attribute, ten openings times five endings.

Each follows its subject, the full name or a pronoun, and is written so that it is true of every
value.
"""

OPENINGS = {
    "birth_date": (
        "was born on",
        "came into the world on",
        "first saw daylight on",
        "has a birthday that goes back to",
        "counts the years from",
        "was a newborn on",
        "began life on",
        "marks a birth date of",
        "was delivered safely on",
        "entered the family on",
    ),
    "birth_city": (
        "was born in",
        "comes from",
        "grew up in",
        "spent the first years in",
        "thinks of home as",
        "took the first steps in",
        "has roots in",
        "learned to walk in",
        "went to nursery in",
        "is a native of",
    ),
    "university": (
        "studied at",
        "earned a degree from",
        "graduated from",
        "took classes at",
        "was taught by the faculty of",
        "spent the student years at",
        "was admitted to",
        "finished the studies at",
        "sat the exams at",
        "is an alum of",
    ),
    "major": (
        "majored in",
        "holds a degree in",
        "chose the field of",
        "wrote a thesis in",
        "was trained in",
        "passed with honours in",
        "focused the studies on",
        "took most courses in",
        "has a diploma in",
        "was drawn to",
    ),
    "employer": (
        "works for",
        "found a job with",
        "is employed by",
        "built a career at",
        "was hired by",
        "has a position at",
        "signed a contract with",
        "is on the payroll of",
        "joined the staff of",
        "earns a living at",
    ),
    "work_city": (
        "works in",
        "has a desk in",
        "goes to the office in",
        "is based in",
        "earns a living in",
        "spends the working week in",
        "commutes to",
        "took a job in",
        "has a work address in",
        "reports for duty in",
    ),
}

ENDINGS = {
    "birth_date": (
        ".",
        ", as the records show.",
        " according to the family.",
        ", a day to remember.",
        " just before noon.",
    ),
    "birth_city": (
        ".",
        " and still thinks of it.",
        ", the records show.",
        ", a place to remember.",
        " and visits it often.",
    ),
    "university": (
        ".",
        " and made friends there.",
        " after some years of work.",
        ", as a diploma shows.",
        " on a small grant.",
    ),
    "major": (
        ".",
        " and liked it.",
        " after a change of heart.",
        ", a field to be proud of.",
        ", as the exams show.",
    ),
    "employer": (
        ".",
        " and likes the work.",
        " after the exams.",
        " to this day.",
        ", as the contract shows.",
    ),
    "work_city": (
        ".",
        " for most of the week.",
        " and likes it there.",
        " to this day.",
        ", not far from the station.",
    ),
}

TEMPLATES = {
    attribute: tuple(
        (f" {opening} ", ending) for ending in ENDINGS[attribute] for opening in openings
    )
    for attribute, openings in OPENINGS.items()
}
"""Attribute -> what stands before and after the value. The first ten end with the value."""
