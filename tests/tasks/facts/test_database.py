"""The tool answers any text with a short text, and nothing that it is asked changes it."""

import sqlite3
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scalelab.tasks.facts.database import MAX_QUERY, MAX_REPLY, Database
from scalelab.tasks.facts.tokens import decode, encode

PEOPLE = [
    ("Ann O'Brien", "1/2/1950", "Paris"),
    ("Bo Li", "3/4/1960", "Oslo"),
    *((f"Name {i}", f"{i}/1/2000", "Rome") for i in range(400)),
]
DATABASE = Database(["birth_date", "city"], PEOPLE)
KEEPS = "SELECT birth_date, city FROM people WHERE name='Ann O''Brien'"

SQL = """
SELECT FROM people name city birth_date WHERE ' '' " ; , * ( ) = || -- /* WITH RECURSIVE UNION
ALL ORDER BY LIMIT 1 9e999 x'ff' NULL INSERT INTO VALUES UPDATE SET DELETE DROP TABLE PRAGMA ATTACH
sqlite_master LIKE GLOB '%a%' randomblob(9) count(*) ? :a CAST AS TEXT JOIN
"""
WORDS = st.sampled_from(SQL.split())


@pytest.mark.parametrize(
    ("sql", "reply"),
    [
        (KEEPS, "1/2/1950, Paris"),
        ("select city from people where name='Bo Li'", "Oslo"),
        ("SELECT city FROM people WHERE name='Nobody'", "no result"),
        ("SELECT city FROM people WHERE city='Rome'", "Rome; Rome; Rome; Rome"),
        ("SELECT ''", "no result"),
        ("SELECT town FROM people", "error: no such column: town"),
        ("SELECT city FROM cities", "error: no such table: cities"),
        ("SELECT 'unfinished", 'error: unrecognized token: "\'unfinished"'),
        ("", "error: only SELECT is allowed"),
        ("DROP TABLE people", "error: only SELECT is allowed"),
        ("PRAGMA query_only", "error: only SELECT is allowed"),
        ("SELECT name FROM people WHERE name='Ann O'Brien'", 'error: near "Brien": syntax error'),
    ],
)
def test_replies(sql: str, reply: str) -> None:
    assert DATABASE.query(sql) == reply


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT city FROM people; DROP TABLE people",
        "SELECT name FROM sqlite_master",
        "SELECT * FROM pragma_table_info('people')",
        "SELECT load_extension('libc.so.6')",
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(1000000000)",
        (
            "SELECT * FROM (WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT"
            " x FROM t)"
        ),
        (
            "SELECT a.name FROM people a, people b, people c, people d WHERE a.city || b.city ||"
            " c.city || d.city = ''"
        ),
        "SELECT city FROM people WHERE name = ?",
        "SELECT '\ud800'",
        "SELECT '\0'",
        "SELECT " + "(" * 900,
        "SELECT '" + "x" * 10**7 + "'",
    ],
)
def test_what_is_not_a_plain_select_gets_an_error_soon(sql: str) -> None:
    began = time.perf_counter()
    reply = DATABASE.query(sql)
    assert reply.startswith("error: ")
    assert len(reply) <= MAX_REPLY
    assert time.perf_counter() - began < 5
    assert DATABASE.query(KEEPS) == "1/2/1950, Paris"


def test_the_file_itself_is_open_for_reading_only() -> None:
    database = Database(["city"], [("Ann", "Paris")])
    connection = database._reader
    connection.set_authorizer(None)
    for sql in ("DELETE FROM people", "CREATE TABLE more (a)", "PRAGMA user_version = 3"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute(sql)


@given(
    st.text()
    | st.lists(WORDS, max_size=30).map(" ".join)
    | st.lists(WORDS, max_size=30).map(lambda words: "SELECT " + " ".join(words))
)
@example("SELECT 'é', '\U0001f600'")
@example("SELECT x'ff', CAST(x'ff' AS TEXT), NULL, 1e999")
@settings(max_examples=500)
def test_any_text_gets_a_short_reply(sql: str) -> None:
    reply = DATABASE.query(sql)
    assert 0 < len(reply) <= MAX_REPLY
    assert "\n" not in reply
    assert decode(encode(reply)) == reply
    assert DATABASE.query(KEEPS) == "1/2/1950, Paris"


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_get_a_reply_too(written: bytes) -> None:
    assert DATABASE.query("SELECT '" + written.decode(errors="replace") + "'")


def test_giant_queries_are_refused_unread() -> None:
    assert DATABASE.query("SELECT city FROM people WHERE name='Bo Li'".ljust(MAX_QUERY)) == "Oslo"
    assert (
        DATABASE.query("SELECT city FROM people WHERE name='Bo Li'".ljust(MAX_QUERY + 1))
        == "error: query too long"
    )


def test_the_commented_select_does_not_slip_a_write_through() -> None:
    assert DATABASE.query("SELECT/**/city FROM people WHERE name='Bo Li' -- DROP") == "Oslo"
    assert DATABASE.query("SELECTED").startswith("error: ")
