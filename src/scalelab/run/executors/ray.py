"""The Ray executor: trials on Ray Tune, on this machine or on a cluster.

Ray is a guest here: it starts silent, sends no usage statistics, writes no logs of trials, and
leaves no folder behind. The store is the memory of a run, so nothing is ever restored from Ray's
own.
"""

import atexit
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalelab.core.errors import UserError
from scalelab.core.signals import STOPPING, Signalled, snapshot
from scalelab.run.executors.base import Desk, Job, check_device, check_folder
from scalelab.run.scratch import scratch, sweep
from scalelab.spec.execution import Execution

if TYPE_CHECKING:
    from scalelab.run.executors.tune import Slots

# Read by Ray when it is imported. The last three: no warnings about its version 2, no `uv run` in
# every worker, no dashboard's metrics.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # of what is left of a run that was given up no new Ray begins
    "TUNE_DISABLE_AUTO_INIT": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_enable_metrics_collection": "0",
}

FOLDER = "ray-"
"""How the name of the folder of a Ray begins that is started here."""

PLACE_BYTES = 107 - len(
    "/ray-12345678/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store.0"
)
"""How long the path of a temporary folder may be: a socket's has at most 107 bytes."""

ANSWER_S = 5.0
"""How long a Ray cluster may take to answer."""

LEAVE_S = 2.0
"""How long disconnecting from a Ray may take, and ending one that was started here."""

OBJECT_STORE_BYTES = 80_000_000
"""Trials pass small events; this is about the least that Ray takes."""


@contextmanager
def ready(job: Job) -> Iterator[None]:
    """Ray, with room for a trial in it.

    Raises UserError where there is none, or where this machine lacks the job's device or folder.
    """
    if job.address is None:
        check_device(job.execution)
        check_folder(job.folder)  # of a cluster only its nodes know
    with ray_cluster(job):
        find_slots(job)
        yield


def execute(desk: Desk, job: Job) -> None:
    """Run what the desk hands out, as many trials at once as there is room for.

    Raises UserError where there is none.
    """
    with ray_cluster(job):
        from scalelab.run.executors.tune import run_tune

        run_tune(desk, job, find_slots(job))


@contextmanager
def ray_cluster(job: Job) -> Iterator[None]:
    """Ray, started here or connected to; one that this process is connected to already is used and
    left running.

    Raises UserError where Ray is not installed, or where no cluster answers.
    """
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "Ray is not installed", cure="install `ray[tune]`, or run with `--executor inline`"
        ) from error
    if ray.is_initialized():
        yield
        return
    with ExitStack() as stack:
        folder = None if job.address is not None else stack.enter_context(ray_folder())
        try:
            _start(ray, job, folder)
            yield
        finally:
            _leave(ray)


def _leave(ray: Any) -> None:
    """Disconnect from Ray, and end one that was started here.

    Where its head is dead that never returns. The folder's end then ends what is left.
    """
    thread = threading.Thread(target=ray.shutdown, name="shutdown", daemon=True)
    thread.start()
    thread.join(LEAVE_S)
    if thread.is_alive():
        atexit.unregister(ray.shutdown)  # this process ends without it


@contextmanager
def ray_folder() -> Iterator[str]:
    """A folder of our own for the sockets and logs of a Ray started here.

    Ray's own choice, $TMPDIR/ray, may be too long for a socket, or belong to somebody else.
    """
    places = _places()
    with ExitStack() as stack:
        for place in places:
            if len(os.fsencode(place)) > PLACE_BYTES:
                continue
            with suppress(OSError):
                folder = stack.enter_context(scratch(FOLDER, place))
                break
        else:
            what = f"`{places[0]}` has too long a path, or is not writable"
            raise UserError(
                f"Ray finds no folder for its sockets: {what}",
                cure=f"set TMPDIR to a folder with a path of at most {PLACE_BYTES} bytes",
            )
        yield str(folder)


def sweep_places() -> None:
    """Remove what killed drivers on this machine left of their Rays: folders and processes."""
    for place in _places():
        sweep(FOLDER, Path(place))


def _places() -> tuple[str, ...]:
    """Where a Ray that is started here may have its folder; the first one is what the user says."""
    return os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"


def _start(ray: Any, job: Job, folder: str | None) -> None:
    """Connect to the cluster, or start Ray here, with its files in the folder."""
    silence: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if job.address is not None:
        _check_address(job.address)
        restore = snapshot()
        try:
            ray.init(job.address, **silence)
        except ConnectionError as error:
            raise _no_cluster(job.address) from error
        except (ValueError, RuntimeError) as error:  # another version of Ray, or no address at all
            raise UserError(
                f"the Ray cluster at `{job.address}` can't be joined: {_first_line(error)}",
                cure="check its version of Ray, and `ray status` there",
            ) from error
        finally:
            restore()
        _mute()
        return
    restore = snapshot()
    try:
        with _apart():
            ray.init(
                "local",
                num_cpus=(job.jobs or _cores() // job.execution.threads or 1)
                * job.execution.threads,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _system_config={"prestart_worker_first_driver": False},
                _temp_dir=folder,
                **silence,
            )
    except SystemExit as error:  # its own answer to a SIGTERM meanwhile
        raise Signalled(signal.SIGTERM) from error
    except Exception as error:  # Ray raises plain Exceptions where its processes do not start
        raise UserError(
            f"Ray cannot start: {_first_line(error)}",
            cure="see `scalelab doctor`, or run with `--executor inline`",
        ) from error
    finally:
        restore()
    _mute()


@contextmanager
def _apart() -> Iterator[None]:
    """Ray's processes in process groups of their own, and deaf to the signals that stop a run:
    one that every process gets (Ctrl-C, the end of a container or of a job) is the driver's to
    answer. It ends them once their trials have saved.
    """
    from ray._private import services

    class Apart(services.ConsolePopen):
        def __init__(
            self, *arguments: Any, preexec_fn: Callable[[], None] | None = None, **options: Any
        ) -> None:
            def prepare() -> None:
                if preexec_fn is not None:
                    preexec_fn()
                # Every process that this one starts inherits the mask, and no program undoes it.
                signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

            super().__init__(*arguments, process_group=0, preexec_fn=prepare, **options)

        def terminate(self) -> None:
            """End it with its agents, as it does not hear SIGTERM."""
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    before, services.ConsolePopen = services.ConsolePopen, Apart
    try:
        yield
    finally:
        services.ConsolePopen = before


def _check_address(address: str) -> None:
    """Raises UserError at once where Ray itself would try for minutes, or start a cluster here."""
    if address.startswith(
        "ray://"
    ):  # Tune would move the driver into the cluster, away from its store
        raise UserError(
            "a Ray client connection can't drive a run",
            cure="run on a node of the cluster with `--address auto`",
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise UserError(
            f"`{address}` is no address of a Ray cluster",
            cure="write it as HOST:PORT, or `auto` on a node of the cluster",
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as server:
            # Ray talks gRPC: its server begins with a SETTINGS frame of HTTP/2, under TLS not.
            if os.environ.get("RAY_USE_TLS", "0") == "0" and server.recv(9)[3:4] != b"\x04":
                raise _no_cluster(address)
    except OSError as error:
        raise _no_cluster(address) from error


def _no_cluster(address: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at `{address}`",
        cure="start one with `ray start --head`, or leave `--address` out",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _mute() -> None:
    # What Ray says of failed trials and dead workers stands in the store, and in the summary.
    from ray._private import worker

    worker._worker_logs_enabled = False
    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_slots(job: Job) -> "Slots":
    """What a trial takes, and how many fit at once. Raises UserError where not even one does."""
    import ray

    from scalelab.run.executors.tune import Slots

    there = ray.cluster_resources()
    cpus, gpus = float(job.execution.threads), gpus_of(job.execution, there.get("GPU", 0.0))
    room = int(there.get("CPU", 0.0) / cpus)
    if gpus:
        room = min(room, int(there.get("GPU", 0.0) / gpus + 1e-9))
    if room < 1:
        what = (
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, and Ray has"
            f" {there.get('CPU', 0.0):g} and {there.get('GPU', 0.0):g}"
        )
        no_gpu = gpus and not there.get("GPU")
        raise UserError(
            what,
            cure=(
                "set `execution.device: auto`"
                if no_gpu
                else "set fewer of `execution.threads` and `execution.gpus`"
            ),
        )
    return Slots(min(room, job.jobs or room), cpus, gpus)


def gpus_of(execution: Execution, available: float) -> float:
    """GPUs of one trial: what the spec says, else one, where its device is a GPU and, for `auto`,
    there is one.
    """
    if execution.device in ("cpu", "mps") or (execution.device == "auto" and not available):
        return 0.0
    return 1.0 if execution.gpus is None else execution.gpus
