"""bfloat16 where a device is made for it, float32 where it would take 40 times as long."""

import pytest
import torch

from vlm3.qwen.precision import autocast, fast, multiplied_in

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def instructions(monkeypatch, there: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: there)


@pytest.mark.parametrize("there", [True, False])
def test_a_cpu_multiplies_in_bfloat16_only_where_it_has_instructions_for_it(monkeypatch, there):
    instructions(monkeypatch, there)
    kind = torch.bfloat16 if there else torch.float32
    assert fast(CPU) == multiplied_in(CPU, "bf16") == kind
    assert multiplied_in(CPU, "fp32") == torch.float32
    with autocast(CPU, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind
    with autocast(CPU, "fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_where_torch_lacks_the_library_it_is_float32(monkeypatch):
    instructions(monkeypatch, True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fast(CPU) == torch.float32


def test_a_gpu_always_does(monkeypatch):
    instructions(monkeypatch, False)
    assert fast(GPU) == torch.bfloat16
