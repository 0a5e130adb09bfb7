"""What every executor does, and what Ray alone can."""

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ray import cloudpickle

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Event, Interrupted, Measured, Started
from scalelab.plan.plan import Plan, PlannedTrial
from scalelab.run.executors import inline, ray
from scalelab.run.executors.base import Job, Worker
from scalelab.spec.execution import Execution

cloudpickle.register_pickle_by_value(sys.modules[__name__])

EIGHT = """
name: eight
budget: {steps: 10}
axes:
  model.width: [4, 8]
replicates: 4
"""


class ListDesk:
    """Hands out trials in order and keeps what they tell."""

    def __init__(self, trials: list[PlannedTrial]) -> None:
        self.queue, self.out, self.told = (
            list(trials),
            set(),
            {planned.digest: list[Event]() for planned in trials},
        )
        self.most_out, self.said = 0, list[str]()
        self.stopping = self.overdue = False
        self.on_tell: Callable[[Event], None] = lambda event: None

    @property
    def finished(self) -> bool:
        return self.stopping or not (self.queue or self.out)

    def ask(self) -> PlannedTrial | None:
        if not self.queue:
            return None
        planned = self.queue.pop(0)
        self.out.add(planned.digest)
        self.most_out = max(self.most_out, len(self.out))
        return planned

    def tell(self, digest: str, event: Event) -> None:
        self.told[digest].append(event)
        if isinstance(event, Ended):
            self.out.discard(digest)
        self.on_tell(event)

    def say(self, text: str) -> None:
        self.said.append(text)

    def ends(self) -> list[Ended]:
        return [
            event for events in self.told.values() for event in events if isinstance(event, Ended)
        ]


def execute(
    executor: str, desk: ListDesk, worker: Worker, folder: str | None = None, jobs: int = 1
) -> None:
    run = ray.execute if executor == "ray" else inline.execute
    run(desk, Job(Execution(), folder, worker, jobs))


def train_a_little(trial, execution, *, folder, emit, stopping, pruned):
    """Ten steps of a tiny model whose numbers hang on seed and width alone."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(trial.seed)
    model = torch.nn.Linear(trial.model.width, trial.model.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    emit(Started({"folder": folder}))
    for step in range(1, 11):
        loss = model(torch.randn(32, trial.model.width)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        emit(Measured(step, {"loss": loss.item()}))
    ended = Ended("done", 10, 1.0, {"norm": model.weight.norm().item()})
    emit(ended)
    return ended


def end_at_once(trial, execution, *, folder, emit, stopping, pruned):
    emit(Started({}))
    ended = Ended("done", 10, 0.1)
    emit(ended)
    return ended


def test_the_same_events_and_the_same_bits_under_both(
    ray_session: None, make_plan: Callable[..., Plan]
) -> None:
    trials = make_plan(EIGHT).trials
    desks = {"inline": ListDesk(trials), "ray": ListDesk(trials)}
    for executor, desk in desks.items():
        execute(executor, desk, train_a_little, folder="results/trials", jobs=2)
    assert desks["inline"].told == desks["ray"].told
    assert len(desks["ray"].ends()) == 8
    assert len({ended.values["norm"] for ended in desks["ray"].ends()}) == 8
    assert desks["inline"].told[trials[0].digest][0] == Started(
        {"folder": f"results/trials/{trials[0].digest}"}
    )
    assert desks["ray"].most_out == 2
    assert desks["inline"].most_out == 1


@pytest.mark.slow
def test_who_waits_for_room_on_a_cluster_is_told_once(
    ray_session: None, make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray as cluster

    from scalelab.run.executors import tune

    class Holder:
        pass

    holder = cluster.remote(num_cpus=2)(Holder).remote()
    cluster.get(holder.__ray_ready__.remote())

    class Patient(ListDesk):
        def say(self, text: str) -> None:
            super().say(text)
            cluster.kill(holder)

    desk = Patient(make_plan(EIGHT).trials[:2])
    monkeypatch.setattr(tune, "WAIT_S", 0.5)
    ray.execute(desk, Job(Execution(), None, end_at_once, 1, address="auto"))
    assert [ended.state for ended in desk.ends()] == ["done"] * 2
    assert len(desk.said) == 1
    assert "each takes 1 CPUs, and 0 of 2 CPUs of the cluster are free" in desk.said[0]


def test_a_failing_trial_is_told_with_its_traceback_and_stops_no_other(
    executor: str, make_plan: Callable[..., Plan]
) -> None:
    def fail_some(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        emit(Measured(7, {"loss": 1.0}))
        if trial.seed == 1:
            raise ArithmeticError("no such number")
        ended = Ended("done", 10, 0.1)
        emit(ended)
        return ended

    desk = ListDesk(make_plan(EIGHT).trials)
    execute(executor, desk, fail_some)
    failed = [ended for ended in desk.ends() if ended.state == "failed"]
    assert len(desk.ends()) == 8
    assert len(failed) == 2
    assert all(
        "ArithmeticError: no such number" in ended.error and "fail_some" in ended.error
        for ended in failed
    )
    assert {ended.step for ended in failed} == {7}


def test_a_trial_that_is_told_to_stop_ends_soon_and_nothing_more_begins(
    executor: str, make_plan: Callable[..., Plan]
) -> None:
    def train_for_ever(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        while not stopping():
            time.sleep(0.01)
        raise Interrupted

    desk = ListDesk(make_plan(EIGHT).trials)
    stop_at: list[float] = []

    def stop(event: Event) -> None:
        desk.stopping = True
        stop_at.append(time.monotonic())

    desk.on_tell = stop
    execute(executor, desk, train_for_ever)
    assert time.monotonic() - stop_at[0] < 10
    assert desk.ends() == []
    assert desk.most_out == len(desk.out) <= 2


def test_what_the_desk_raises_comes_out_as_it_is(
    executor: str, make_plan: Callable[..., Plan]
) -> None:
    desk = ListDesk(make_plan(EIGHT).trials)

    def full(event: Event) -> None:
        if isinstance(event, Ended):
            raise UserError("the disk is full")

    desk.on_tell = full
    with pytest.raises(UserError, match="the disk is full"):
        execute(executor, desk, end_at_once)


def test_a_desk_with_nothing_to_run_now_is_asked_again(
    executor: str, make_plan: Callable[..., Plan]
) -> None:
    class Hesitating(ListDesk):
        def __init__(self, trials: list[PlannedTrial]) -> None:
            super().__init__(trials)
            self.asked = 0

        def ask(self) -> PlannedTrial | None:
            self.asked += 1
            return None if self.asked % 2 else super().ask()

    desk = Hesitating(make_plan().trials[:2])
    execute(executor, desk, end_at_once)
    assert len(desk.ends()) == 2


def test_a_dead_worker_is_told_of_and_the_others_go_on(
    ray_session: None, make_plan: Callable[..., Plan]
) -> None:
    def die_some(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        if trial.seed == 1 and trial.model.width == 4:
            os._exit(9)
        return end_at_once(
            trial, execution, folder=folder, emit=emit, stopping=stopping, pruned=pruned
        )

    desk = ListDesk(make_plan(EIGHT).trials)
    execute("ray", desk, die_some, jobs=2)
    states = sorted(ended.state for ended in desk.ends())
    assert states == ["done"] * 7 + ["failed"]
    assert "worker died" in next(ended.error for ended in desk.ends() if ended.state == "failed")


def test_a_trial_that_will_not_stop_is_given_up(
    ray_session: None, make_plan: Callable[..., Plan]
) -> None:
    def hang(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        time.sleep(600)
        return Ended("done", 10, 600.0)

    desk, began = ListDesk(make_plan(EIGHT).trials[:2]), list[float]()

    def stop(event: Event) -> None:
        began.append(time.monotonic())
        desk.stopping = desk.overdue = True

    desk.on_tell = stop
    execute("ray", desk, hang)
    # Tune's own 10 s of cleaning up are not waited for.
    assert time.monotonic() - began[0] < 10


def test_a_trial_that_swallows_an_exception_is_given_up_inline(
    make_plan: Callable[..., Plan],
) -> None:
    """As a callback of a compiler does."""
    swallowed = list[BaseException]()

    def deaf(trial, execution, *, folder, emit, stopping, pruned):
        emit(Started({}))
        try:
            time.sleep(60)
        except BaseException as error:
            swallowed.append(error)
        time.sleep(60)
        return Ended("done", 10, 120.0)

    desk = ListDesk(make_plan(EIGHT).trials[:1])

    def stop(event: Event) -> None:
        desk.stopping = desk.overdue = True

    desk.on_tell, began = stop, time.monotonic()
    execute("inline", desk, deaf)
    assert time.monotonic() - began < 10
    assert len(swallowed) == 1
    assert desk.ends() == []


def test_ray_leaves_no_folder_and_no_process_output(
    ray_session: None, make_plan: Callable[..., Plan], capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(Path(tempfile.gettempdir()).glob("scalelab-*"))
    execute("ray", ListDesk(make_plan(EIGHT).trials), end_at_once)
    assert set(Path(tempfile.gettempdir()).glob("scalelab-*")) <= before
    assert capfd.readouterr() == ("", "")


def test_a_trial_that_fits_nowhere_is_refused(ray_session: None) -> None:
    with pytest.raises(UserError, match=r"asks for 64 CPUs .* Ray has 2"):
        ray.find_slots(Job(Execution(threads=64)))
    with pytest.raises(UserError, match=r"and 0\.25 GPUs"):
        ray.find_slots(Job(Execution(device="cuda", gpus=0.25)))


def test_slots_are_what_there_is_room_for_and_no_more_than_wanted(ray_session: None) -> None:
    assert ray.find_slots(Job(Execution(device="cpu"))).number == 2
    assert ray.find_slots(Job(Execution(device="cpu", threads=2))).number == 1
    assert ray.find_slots(Job(Execution(device="cpu"), jobs=1)).number == 1


def test_gpus_of_a_trial() -> None:
    assert ray.gpus_of(Execution(device="cpu", gpus=1), available=4) == 0
    assert ray.gpus_of(Execution(device="auto"), available=0) == 0
    assert ray.gpus_of(Execution(device="auto", gpus=0.25), available=0) == 0
    assert ray.gpus_of(Execution(device="auto"), available=4) == 1
    assert ray.gpus_of(Execution(device="auto", gpus=0.25), available=4) == 0.25
    assert ray.gpus_of(Execution(device="cuda"), available=0) == 1


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("ray://somewhere:10001", "--address auto"),
        ("127.0.0.1:1", "ray start --head"),
        ("127.0.0.1:99999", "HOST:PORT"),
        ("somewhere", "HOST:PORT"),
        ("local", "HOST:PORT"),
        ("", "HOST:PORT"),
    ],
)
def test_an_address_where_no_run_can_be_driven_is_refused_at_once(address: str, cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        ray._start(None, Job(Execution(), address=address), None)


def test_a_server_that_is_no_ray_cluster_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def greet() -> None:
            for _ in range(2):
                with server.accept()[0] as caller:
                    caller.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        with pytest.raises(UserError, match=f"no Ray cluster answers at `{address}`"):
            ray._check_address(address)  # nobody answers
        thread = threading.Thread(target=greet)  # to the caller that waits still, and the next one
        thread.start()
        with pytest.raises(UserError, match=f"no Ray cluster answers at `{address}`"):
            ray._check_address(address)
        thread.join()


def test_ray_gets_a_folder_whose_path_fits_a_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for place in (long, tmp_path / "missing", Path("/proc")):
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        with ray.ray_folder() as folder:
            assert len(str(Path(folder).parent)) <= ray.PLACE_BYTES


@pytest.mark.parametrize(
    "folder", ["file/trials", "file", "nosuch://bucket/trials", f"{'x' * 300}/trials"]
)
def test_a_folder_that_can_keep_nothing_is_refused_before_a_trial_runs(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UserError, match="--artifacts"), inline.ready(Job(Execution(), folder)):
        pass
    with inline.ready(Job(Execution(), "new/trials")):
        assert not Path("new").exists()
