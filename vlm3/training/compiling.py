"""Layers compiled by torch, where the machine has what that needs."""

import os
import shutil
import warnings

import torch

from vlm3.qwen import network

COMPILERS = ("g++", "clang++", "c++", "gcc", "clang", "cl")
# Each kind of batch is compiled once, such as those in one group and those in two; of more kinds
# than these torch makes no more graphs, and without a word the layers run as they are.
VARIANTS = 64


def compiler() -> str | None:
    """The path of a C++ compiler, which torch.compile needs; None where there is none."""
    names = (*filter(None, (os.environ.get("CXX"), os.environ.get("CC"))), *COMPILERS)
    return next(filter(None, map(shutil.which, names)), None)


def compile_layers(net: torch.nn.Module) -> bool:
    """Compile the layers of the language model, for batches of any length; False, with a warning,
    where there is no compiler, and all stays as it is."""
    if compiler() is None:
        warnings.warn(
            "compiled: no C++ compiler is found, so layers run as they are: install g++ or name "
            "one in the environment variable CXX",
            stacklevel=2,
        )
        return False
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    # Else sizes that are alike in the first batch by chance must be so in all that follow.
    torch.fx.experimental._config.use_duck_shape = False
    for layer in network.text_layers(net):
        # Sizes are symbols: batches of a real run are of hardly two lengths alike.
        layer.compile(dynamic=True)
    return True
