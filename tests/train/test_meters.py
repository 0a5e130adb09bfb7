"""Meters: what the updates since the last evaluation have seen, however they were cut into
micro-batches.
"""

import math

import pytest
import torch
from torch import Tensor

from scalelab.families.objective import Loss
from scalelab.layers.moe import Routing
from scalelab.train.meters import Meters

CPU = torch.device("cpu")


def loss(nats: float, routings: list[Routing], steps: list[list[float]] | None = None) -> Loss:
    return Loss(
        torch.tensor(nats),
        torch.zeros(()),
        None,
        routings,
        steps_N=None if steps is None else torch.tensor(steps),
    )


def routing(
    load_E: list[float], entropy: float = 0.5, dropped: float = 0.0, tokens: float = 16
) -> Routing:
    return Routing(torch.zeros(()), *map(torch.tensor, (load_E, entropy, dropped, tokens)))


def values(of: Meters) -> dict[str, float]:
    return {name: value for name, value in of.values().items() if name != "loss"}


def test_the_loss_is_a_mean_over_targets() -> None:
    meters = Meters(CPU)
    for nats in (3.0, 5.0):
        meters.add(loss(nats, []))
    meters.end_update(4)
    assert meters.values() == {"loss": 2.0}
    meters.clear()
    assert meters.values() == {"loss": 0.0}


def test_loads_are_shares_and_max_vio_is_the_excess_of_the_busiest() -> None:
    meters = Meters(CPU)
    meters.add(loss(0, [routing([6, 2, 0, 0]), routing([2, 2, 2, 2])]))
    meters.end_update(4)
    found = meters.values()
    assert [found[f"load_0_{expert}"] for expert in range(4)] == [0.75, 0.25, 0, 0]
    assert [found[f"load_1_{expert}"] for expert in range(4)] == [0.25] * 4
    assert (found["max_vio_0"], found["max_vio_1"], found["max_vio"]) == (2.0, 0.0, 1.0)


def test_max_vio_is_of_each_update_with_all_its_micro_batches() -> None:
    meters = Meters(CPU)
    for micro_batches in (
        [[4.0, 0.0], [0.0, 4.0]],
        [[8.0, 0.0]],
        [[0.0, 8.0]],
    ):  # even, then one-sided twice
        for load_E in micro_batches:
            meters.add(loss(0, [routing(load_E)]))
        meters.end_update(8)
    found = meters.values()
    assert found["max_vio_0"] == pytest.approx(2 / 3)
    assert (found["load_0_0"], found["load_0_1"]) == (0.5, 0.5)  # though their sum is even


def test_max_vio_of_random_routing_does_not_fall_with_the_updates() -> None:
    drawn = torch.Generator().manual_seed(0)
    found = []
    for updates in (20, 200):
        meters = Meters(CPU)
        for _ in range(updates):
            load_E = torch.randint(8, (512,), generator=drawn).bincount(minlength=8)
            meters.add(loss(0, [routing(load_E.tolist())]))
            meters.end_update(512)
        found.append(meters.values()["max_vio"])
    assert found[1] == pytest.approx(found[0], rel=0.2)
    assert found[1] > 0.1


def test_entropy_and_drops_are_means_over_tokens() -> None:
    meters = Meters(CPU)
    meters.add(loss(0, [routing([4, 0], 0.1, 2, 12), routing([4, 0], 0.3, 0, 12)]))
    meters.add(loss(0, [routing([0, 4], 0.5, 2, 4), routing([0, 4], 0.3, 0, 4)]))
    meters.end_update(16)
    found = meters.values()
    assert found["router_entropy_0"] == pytest.approx(0.75 * 0.1 + 0.25 * 0.5)
    assert found["router_entropy"] == pytest.approx((found["router_entropy_0"] + 0.3) / 2)
    assert found["dropped_0"] == 4 / 16
    assert found["dropped"] == 2 / 16


def test_each_layer_counts_its_own_tokens() -> None:
    """The last one sees the targets alone, and a step of a router over layers those that have not
    halted.
    """
    meters = Meters(CPU)
    meters.add(loss(0, [routing([8, 8], dropped=2), routing([2, 2], dropped=2, tokens=4)]))
    meters.end_update(4)
    assert (meters.values()["dropped_0"], meters.values()["dropped_1"]) == (2 / 16, 2 / 4)


def test_micro_batches_are_metered_as_the_whole() -> None:
    whole, parts = Meters(CPU), Meters(CPU)
    whole.add(loss(1, [routing([5, 3], 0.4, 1, 16)], [[2, 1], [3, 3]]))
    parts.add(loss(0.5, [routing([4, 0], 0.2, 1, 8)], [[2, 1]]))
    parts.add(loss(0.5, [routing([1, 3], 0.6, 0, 8)], [[3, 3]]))
    for meters in (whole, parts):
        meters.end_update(16)
    assert values(whole) == pytest.approx(values(parts))
    assert values(whole)["steps_mean"] == 9 / 4


def test_a_step_that_nobody_takes_is_not_uneven() -> None:
    meters = Meters(CPU)
    meters.add(loss(0, [routing([4, 4]), routing([0, 0], tokens=0)]))
    meters.end_update(4)
    assert (meters.values()["max_vio_0"], meters.values()["max_vio_1"]) == (0, 0)


def test_meters_go_on_from_what_was_saved() -> None:
    through, before, after = Meters(CPU), Meters(CPU), Meters(CPU)
    for meters in (through, before):
        meters.add(loss(1, [routing([5, 3])], [[1, 2]]))
        meters.end_update(16)
    after.load_state_dict(before.state_dict())
    for meters in (through, after):
        meters.add(loss(2, [routing([1, 3])], [[3, 4]]))
        meters.end_update(7)
    assert through.values() == after.values()
    assert after.values()["max_vio"] == (0.25 + 0.5) / 2
    assert after.values()["steps_mean"] == 2.5


@pytest.mark.parametrize(("nats", "entropy"), [(math.nan, 0.1), (1.0, math.nan), (math.inf, 0.1)])
def test_a_router_that_is_no_number_is_seen(nats: float, entropy: float) -> None:
    meters = Meters(CPU)
    assert bool(meters.are_finite())
    meters.add(loss(nats, [routing([5, 3], entropy)]))
    finite: Tensor = meters.are_finite()
    assert not bool(finite)
