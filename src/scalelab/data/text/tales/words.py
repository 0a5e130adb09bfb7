"""The words that tales are made of."""

WOMEN = tuple(
    "Ada Agnes Berta Cora Dora Edith Elsa Flora Greta Hana Ida Ines Judith Klara Lotte Mabel Nora"
    " Olga Paula Rosa Selma Thea Ursula Vera".split()
)
MEN = tuple(
    "Albert Boris Carl David Emil Felix Gustav Hugo Igor Jonas Karim Leo Max Nils Otto Peter Rafael"
    " Simon Thomas Victor Walter Yusuf".split()
)

PLACES = tuple(
    "bakery barn beach bridge cellar chapel courtyard dairy farm forest garden harbour hill inn"
    " kitchen library lighthouse market meadow mill museum orchard park quarry river school stable"
    " station tower valley village workshop".split()
)

THINGS = {
    "apple": "apples",
    "axe": "axes",
    "basket": "baskets",
    "bell": "bells",
    "blanket": "blankets",
    "book": "books",
    "bottle": "bottles",
    "box": "boxes",
    "brush": "brushes",
    "button": "buttons",
    "candle": "candles",
    "chair": "chairs",
    "clock": "clocks",
    "coat": "coats",
    "coin": "coins",
    "cup": "cups",
    "drum": "drums",
    "egg": "eggs",
    "feather": "feathers",
    "flute": "flutes",
    "hammer": "hammers",
    "hat": "hats",
    "jar": "jars",
    "kettle": "kettles",
    "key": "keys",
    "kite": "kites",
    "knife": "knives",
    "ladder": "ladders",
    "lamp": "lamps",
    "leaf": "leaves",
    "letter": "letters",
    "loaf": "loaves",
    "map": "maps",
    "mirror": "mirrors",
    "needle": "needles",
    "pear": "pears",
    "pebble": "pebbles",
    "ribbon": "ribbons",
    "rope": "ropes",
    "saddle": "saddles",
    "shell": "shells",
    "shoe": "shoes",
    "spoon": "spoons",
    "torch": "torches",
    "whistle": "whistles",
}
"""What can be found, counted and carried: singular and plural."""

LIVING = {
    "baker": "bakers",
    "child": "children",
    "cow": "cows",
    "dog": "dogs",
    "farmer": "farmers",
    "fox": "foxes",
    "goose": "geese",
    "horse": "horses",
    "kitten": "kittens",
    "mouse": "mice",
    "owl": "owls",
    "sailor": "sailors",
    "sheep dog": "sheep dogs",
    "soldier": "soldiers",
    "teacher": "teachers",
    "wolf": "wolves",
    "woman": "women",
}
"""What can watch and wait: singular and plural."""

LOOKS = tuple(
    "blue broken clean crooked dark dusty golden green grey heavy little new old painted plain red"
    " round rusty shiny silver small soft strange white wooden yellow".split()
)
STATES = tuple(
    "afraid asleep awake busy calm cold curious happy hungry late lost quiet ready silent thirsty"
    " tired warm".split()
)
FEELINGS = tuple("anxious bored cheerful content glad hopeful lonely proud relieved sad".split())
WEATHER = (
    "it began to rain",
    "a cold wind rose",
    "the fog came in from the sea",
    "snow started to fall",
    "the sun broke through the clouds",
    "thunder rolled over the hills",
    "the moon came out",
    "everything grew still",
)
OPENINGS = (
    "One morning",
    "One evening",
    "Long ago",
    "On the first day of spring",
    "In the middle of winter",
    "Late in the autumn",
    "On a market day",
    "The year the bridge was built",
    "When the days were long",
    "Before anyone was awake",
)
NUMBERS = tuple(
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty".split()
)
"""Number words by their value."""
