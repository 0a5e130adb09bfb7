"""A network between a run and its PostgreSQL server that swallows everything: the run notices
within a bound, waits, and ends as if nothing had happened.
"""

import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.faults.work import breaking, content
from tests.store.conftest import NewPlace

from scalelab.core.errors import UserError
from scalelab.plan.plan import Plan
from scalelab.run import driver
from scalelab.run.driver import Options, drive
from scalelab.store import open_store, postgres

MakePlan = Callable[..., Plan]

HASTY = """\
name: small
budget: {steps: 10}
axes: {model.width: [4, 8]}
execution: {patience: 0.5}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Relay:
    """Forwards TCP connections to a Unix socket. While it is frozen nothing passes, but the system
    still acknowledges what comes, as it does for a server that hangs.
    """

    def __init__(self, target: str, host: str) -> None:
        self._target, self._frozen, self._closed = target, threading.Event(), threading.Event()
        self._listening = socket.create_server((host, 0))
        self._listening.settimeout(0.05)
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def freeze(self) -> None:
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.clear()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                client, _ = self._listening.accept()
                thread = threading.Thread(target=self._forward, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._target)
            other = {client: server, server: client}
            while not self._closed.is_set():
                ready, _, _ = select.select(list(other), [], [], 0.02)
                while self._frozen.is_set() and not self._closed.is_set():
                    time.sleep(0.01)
                for end in ready:
                    if not (data := end.recv(1 << 16)):
                        return
                    other[end].sendall(data)

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()


@pytest.fixture
def relayed(postgres_server: str) -> Iterator[Callable[..., Relay]]:
    """Makes relays to the server."""
    with ExitStack() as stack:

        def make(host: str = "127.0.0.1") -> Relay:
            relay = Relay(f"{postgres_server}/.s.PGSQL.5432", host)
            stack.callback(relay.close)
            return relay

        yield make


def through(relay: Relay, place: str, host: str = "127.0.0.1") -> str:
    """The place of a database by way of a relay."""
    name = place.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres@{host}:{relay.port}/{name}"


@pytest.mark.parametrize(("at", "for_s"), [(1, 0.8), (2, 3.0), (4, 0.8)])
def test_a_server_that_hangs_is_noticed_and_waited_for(
    make_plan: MakePlan,
    inline: Options,
    new_database: NewPlace,
    relayed: Callable[..., Relay],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    for_s: float,
) -> None:
    """For less than a connection takes, nobody hears of it."""
    monkeypatch.setattr(postgres, "ANSWER_S", 0.3)
    monkeypatch.setattr(postgres, "CONNECT_S", 2)
    monkeypatch.setattr(driver, "HEARTBEAT_S", 0.05)
    with open_store("whole.db", mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(0, print))
        whole = content(store)
    relay, place = relayed(), new_database()

    def freeze() -> None:
        relay.freeze()
        threading.Timer(for_s, relay.thaw).start()

    began = time.monotonic()
    with open_store(through(relay, place), mode="write") as store:
        drive(make_plan(), store, inline, worker=breaking(at, freeze))
        assert content(store) == whole
    assert time.monotonic() - began < 20
    assert isinstance(inline.stream, StringIO)
    assert inline.stream.getvalue().count("the run waits for it, up to 10m") == (for_s > 2)


def test_a_server_that_hangs_for_good_stops_the_run_with_a_rescue_file(
    make_plan: MakePlan,
    inline: Options,
    new_database: NewPlace,
    relayed: Callable[..., Relay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_S", 0.3)
    monkeypatch.setattr(postgres, "CONNECT_S", 2)
    relay = relayed()
    plan = make_plan(HASTY)
    with (
        open_store(through(relay, new_database()), mode="write") as store,
        pytest.raises(UserError, match="rescue"),
    ):
        drive(plan, store, inline, worker=breaking(1, relay.freeze))
    (rescue,) = Path().glob("*.rescue-*.db")
    with open_store(rescue, mode="read") as store:
        assert [one.result.state for one in store.members("small")] == ["done", "missing"]


SPEC = """\
name: small
task: {people: 8, templates: 1}
model: {width: 8}
budget: {steps: 400}
batch: 16
evaluation: {first: 20, ratio: 1.2}
replicates: 3
execution: {device: cpu, checkpoint_every: 0.1}
"""

SPACE, HERE, THERE = "scalelab-partition", "10.213.77.1", "10.213.77.2"
NOTICED_S = 60
"""Half a minute is the bound; the machine may be busy."""


@pytest.fixture
def network() -> Iterator[None]:
    """A network of two hosts: HERE, and THERE in a network namespace of its own."""
    steps = [
        f"netns add {SPACE}",
        "link add scalelab-here type veth peer name scalelab-there",
        f"link set scalelab-there netns {SPACE}",
        f"addr add {HERE}/30 dev scalelab-here",
        "link set scalelab-here up",
        f"-n {SPACE} addr add {THERE}/30 dev scalelab-there",
        f"-n {SPACE} link set scalelab-there up",
    ]
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2")
    try:
        for step in steps:
            if subprocess.run(["ip", *step.split()], stderr=subprocess.DEVNULL).returncode:
                pytest.skip("no network namespaces here")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", "scalelab-here"], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_network_that_drops_every_packet_is_noticed_and_waited_for(
    network: None, new_database: NewPlace, relayed: Callable[..., Relay]
) -> None:
    Path("spec.yaml").write_text(SPEC)
    relay, place = relayed(HERE), new_database()
    run = [sys.executable, "-m", "scalelab", "run", "spec.yaml", "--executor", "inline"]
    inside = ["ip", "netns", "exec", SPACE, *run, "--store", through(relay, place, HERE)]
    with Path("out").open("w") as out, subprocess.Popen(inside, stdout=out, stderr=out) as process:

        def until(is_so: Callable[[], Any]) -> None:
            end = time.monotonic() + NOTICED_S
            while not is_so():
                assert process.poll() is None, Path("out").read_text()
                assert time.monotonic() < end, Path("out").read_text()
                time.sleep(0.05)

        try:
            until(lambda: list(Path("results/trials").glob("*/checkpoint.pt")))
            subprocess.run(["ip", "route", "add", "blackhole", f"{THERE}/32"], check=True)
            try:
                until(lambda: "the run waits for it" in Path("out").read_text())
            finally:
                subprocess.run(["ip", "route", "del", "blackhole", f"{THERE}/32"], check=True)
            assert process.wait(timeout=NOTICED_S + 60) == 0, Path("out").read_text()
        finally:
            process.kill()
    assert Path("out").read_text().count("the run waits for it") == 1
    whole = [*run, "--store", "whole/lab.db"]
    subprocess.run(whole, check=True, stdout=subprocess.DEVNULL)
    assert weights(place) == weights("whole/lab.db")


def weights(place: str) -> list[str]:
    with open_store(place, mode="read") as opened:
        digests = [one.record.digest for one in opened.members("small")]
        trials = [opened.trial(digest) for digest in digests]
        assert [[attempt.state for attempt in trial.attempts] for trial in trials] == [
            ["done"]
        ] * len(trials)
        return [trial.artifacts["weights_sha256"] for trial in trials]
