"""Compiled layers: the same numbers for batches of all lengths, few graphs, and a way without."""

from functools import partialmethod

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from vlm3.qwen import attention, batching, model, network, packing
from vlm3.training import compiling
from vlm3.views import QA, Sample, View

# Words in the question, and how often it is asked, sample by sample: no two batches are alike.
STREAM = [
    [(3, 2), (5, 3)],
    [(4, 3), (6, 2), (5, 4)],
    [(9, 5), (3, 2), (4, 4)],
    [(2, 2), (3, 5), (7, 3), (5, 2)],
    [(8, 4), (2, 3)],
    [(6, 6), (4, 2), (9, 4)],
]


def _batch(vlm, rows: list[tuple[int, int]]) -> batching.Batch:
    view = View(np.zeros((32, 64, 3), np.uint8), None)
    packs = []
    for words, questions in rows:
        asked = [QA("", (), f"{k} " + "far " * words, str(k)) for k in range(questions)]
        packs.append(
            packing.pack(Sample((view,), tuple(asked), "depth", ""), vlm.tokenizer, merge=vlm.merge)
        )
    return batching.collate(packs)


@torch.no_grad()
def test_batches_of_all_lengths_share_a_few_graphs_and_their_logits_are_those_of_plain_layers(
    monkeypatch,
):
    vlm, graphs = model.new(seed=2), CompileCounter()
    batches = [_batch(vlm, rows) for rows in STREAM]
    assert len({len(batch) for batch in batches}) == len(batches)
    attention.use(vlm.net)
    plain = [vlm.net(**batch.inputs(), use_cache=False).logits for batch in batches]
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compiled, backend=graphs))
    monkeypatch.setattr(compiling, "compiler", lambda: "g++")
    assert compiling.compile_layers(vlm.net)
    for batch, expected in zip(batches, plain, strict=True):
        found = vlm.net(**batch.inputs(), use_cache=False).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert 1 <= graphs.frame_count <= 2  # for all layers: one for each number of groups


def test_without_a_compiler_layers_stay_as_they_are_and_the_user_is_told(vlm, monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match=r"install g\+\+"):
        assert not compiling.compile_layers(vlm.net)
    assert all(layer._compiled_call_impl is None for layer in network.text_layers(vlm.net))
