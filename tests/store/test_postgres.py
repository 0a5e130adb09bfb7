"""What is special to a store on a PostgreSQL server."""

import socket

import pytest
from tests.store.conftest import NewPlace, record

from scalelab.core.errors import UserError
from scalelab.store import open_store

A = record(1)


def test_a_database_without_a_store_is_a_sentence(new_database: NewPlace) -> None:
    with pytest.raises(UserError, match="is empty: there is no store in it"):
        open_store(new_database(), mode="read")


def test_an_unknown_database_is_a_sentence(new_database: NewPlace) -> None:
    place = new_database().replace("/test", "/nosuch")
    with pytest.raises(UserError, match=r'cannot be reached: .*database "nosuch.*" does not exist'):
        open_store(place, mode="write")


def test_a_server_that_is_not_there_is_a_sentence_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(
        UserError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/lab: cannot be reached"
    ) as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/lab", mode="write")
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_a_sentence_in_time() -> None:
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"postgresql://127.0.0.1:{server.getsockname()[1]}/lab?connect_timeout=2"
        with pytest.raises(UserError, match=r"cannot be reached: .*timeout"):
            open_store(place, mode="read")


@pytest.mark.parametrize("option", ["colour=red", "connect_timeout=soon"])
def test_an_option_that_the_driver_refuses_is_a_sentence(option: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match="cannot be reached"):
        open_store(f"postgresql://127.0.0.1:1/lab?{option}", mode="read")


def test_a_url_that_cannot_be_read_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^`host:port/lab` is no database URL"):
        open_store("postgresql://me:secret@host:port/lab", mode="write")


def test_the_store_stands_in_a_schema_of_its_own(new_database: NewPlace) -> None:
    import psycopg

    place = new_database()
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("CREATE TABLE trials (mine text)")
        with open_store(place, mode="write") as store:
            store.register("x", {"name": "x"}, [A])
        assert connection.execute("SELECT count(*) FROM public.trials").fetchone() == (0,)
        assert connection.execute(
            "SELECT params::json ->> 'total' FROM scalelab.trials"
        ).fetchone() == ("1001",)


def test_a_user_who_may_only_read_reads(new_database: NewPlace) -> None:
    import psycopg

    place = new_database()
    with open_store(place, mode="write") as store:
        store.register("x", {"name": "x"}, [A])
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA scalelab TO guest")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA scalelab TO guest")
    guest = place.replace("postgres@", "guest@")
    with open_store(guest, mode="read") as store:
        assert store.states([A.digest]) == {A.digest: "missing"}
    with (
        open_store(guest, mode="write") as store,
        pytest.raises(UserError, match="is read-only for this user"),
    ):
        store.claim(A.digest, "me")
