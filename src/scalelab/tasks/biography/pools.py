"""The pools that biographies draw from: invented names, of the sizes in arXiv 2404.05405.

No entry of a pool begins another one, so that a value's tokens alone tell where it ends, and bits
are exact. (Tokens that begin others' tokens are a text that begins their text: what holds of the
letters holds under every tokenizer.)
"""

from itertools import cycle, product


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _joined(heads: str, tails: str) -> tuple[str, ...]:
    return tuple(map("".join, product(_words(heads), _words(tails))))


FIRST_NAMES = _joined(
    "Al Bre Cor Da Ev Fi Gar Hol Is Jo Kel Lo Mar Ne Or Pru Ri Sel Tho Ve",
    "dan lin vik nora mos bert sia thel ric wyn lotte gan mira ston dra fred nelle bin zar quil",
)
MIDDLE_NAMES = _joined(
    "Ash Bram Clem Drew Elm Fern Glen Haw Ing Jas Knox Lark Moss Nim Oak Penn Rook Sage Tarn Wil",
    "ley by ford ena us ette ara olm ing ric sel mund dene issa ert oth wick ane ulf ora",
)
LAST_NAMES = _joined(
    "Ab Bar Cald Dun Ed Farn Grim Hal Ir Kes Lang Mor Nor Or Pem Rad Sal Thor Up Win Yar Brack Crow"
    " Strat Whit",
    "acre baine combe dale enby field gate holme ington jorn kirk low mere nall over pole quist"
    " ridge shaw thwaite urst vane worth yon zell bourne croft don edge fall grove hurst ivers land"
    " moor ness port stead ton well",
)

MONTHS = _words(
    "January February March April May June July August September October November December"
)
DAYS = tuple(map(str, range(1, 29)))
YEARS = tuple(map(str, range(1900, 2100)))

CITIES = _joined(
    "Ald Beck Cran Dray Ems Flint Gran Hart Kel Ling",
    "bridge chester denfort eaton fossing garth haven inster jarrow kesby lund mouth nock ostrand"
    " pool quay rath sund tarrow wich",
)

UNIVERSITIES = tuple(
    form.format(city)
    for form in (
        "University of {}",
        "{} State University",
        "{} College",
        "{} Technical Institute",
        "{} School of Sciences",
    )
    for city in CITIES[:60]
)

_BRANCHES = _words(
    "Applied Comparative Computational Experimental General Global Historical Modern Social"
    " Theoretical"
)
_SUBJECTS = _words(
    "Biology Chemistry Design Economics Geography Linguistics Medicine Music Physics Statistics"
)
MAJORS = tuple(map(" ".join, product(_BRANCHES, _SUBJECTS)))

_TRADES = _words(
    "Airlines Bank Books Foods Freight Games Glass Hotels Insurance Motors Paper Robotics Shipping"
    " Software Steel Textiles"
)
EMPLOYERS = tuple(map(" ".join, zip(LAST_NAMES[:789:3], cycle(_TRADES), strict=False)))

SEATS = tuple(index * 77 % len(CITIES) for index in range(len(EMPLOYERS)))
"""The city, by its place in CITIES, that an employer's people work in: it follows from the employer
and holds no bits of its own.
"""

PRONOUNS = ("He", "She")

NAMES = len(FIRST_NAMES) * len(MIDDLE_NAMES) * len(LAST_NAMES)
"""N0: how many people have a name of their own."""

ATTRIBUTES = {
    "birth_date": len(MONTHS) * len(DAYS) * len(YEARS),
    "birth_city": len(CITIES),
    "university": len(UNIVERSITIES),
    "major": len(MAJORS),
    "employer": len(EMPLOYERS),
    "pronoun": len(PRONOUNS),
}
"""The attributes of bioS that are counted, with the sizes of their pools."""
