import time

import torch

from scalelab.spec.experiment import Trial
from scalelab.train import peak


def test_the_peak_is_what_this_machine_multiplies_at_and_is_measured_once() -> None:
    trial, device = Trial.model_validate({"budget": {"steps": 1}}), torch.device("cpu")
    peak._measured.cache_clear()
    began = time.perf_counter()
    first = peak.matmul_peak(trial, device)
    assert time.perf_counter() - began < 1.0  # 0.07 s on an idle core
    assert 1e8 < first < 1e14
    assert peak.matmul_peak(trial, device) == first


def test_measuring_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    peak._measured.cache_clear()
    peak.matmul_peak(Trial.model_validate({"budget": {"steps": 1}}), torch.device("cpu"))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
