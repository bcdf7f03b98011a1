"""A frozen base in few bits: the language model's matrices in 8 or 4, everything else in bfloat16.

"int8" holds each row in whole numbers of its largest one (Dettmers et al. 2022, without their
outliers, as activations stay in bfloat16); "nf4" blocks of 64 in the 4-bit "normal float", with
constants that are quantised again (Dettmers et al. 2023), by bitsandbytes. Products are those of a
bfloat16 copy, made anew each time and forgotten, forward and backward: so gradients are those of
the weights that answer, and nothing but the few bits stays in memory. bitsandbytes' own layers
would keep their inputs where torch's checkpointing cannot take them away.

Letters in shapes: T tokens, I numbers in, O numbers out.
"""

import torch
from torch import Tensor

from vlm3.qwen import network
from vlm3.qwen.architecture import ADAPTED

BLOCK, OUTER = 64, 256  # weights per constant, and constants per constant of those


def hold(net: torch.nn.Module, base: str, device: torch.device | str | None = None) -> None:
    """Give a network that will not learn its weights in fewer bits, one of architecture's BASES.

    device: where matrices are rounded, and stay; a GPU needs seconds for what takes a CPU minutes.
    ValueError without bitsandbytes.
    """
    if base == "fp32":
        return
    network.cast(net, torch.bfloat16)
    kinds = {"int8": Int8, "nf4": Nf4}
    for layer in network.text_layers(net) if base in kinds else ():
        for name, module in [*layer.named_modules()]:
            if name.rpartition(".")[2] in ADAPTED:
                layer.set_submodule(name, kinds[base](module.to(device)))


class Quantised(torch.nn.Linear):
    """A matrix in few bits that does not learn, and is in no state_dict."""

    def __init__(self, full: torch.nn.Linear):
        torch.nn.Module.__init__(self)  # a linear layer would draw a matrix first
        self.in_features, self.out_features, self.bias = full.in_features, full.out_features, None
        bits, constants = self.rounded(full.weight.detach())
        self.weight = torch.nn.Parameter(bits, requires_grad=False)
        self.weight.numbers = full.weight.numel()  # see `network.count`
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    def rounded(self, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(O, I) -> its bits, and what else `dense` needs."""
        raise NotImplementedError

    def dense(self) -> Tensor:
        """(O, I) bfloat16, what the bits stand for."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O) bfloat16."""
        return _Product.apply(x.to(torch.bfloat16), self)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layer: Quantised) -> Tensor:
        ctx.layer = layer
        return x @ layer.dense().T

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.dense(), None


class Int8(Quantised):
    """A byte for each weight, and a scale for each row."""

    def rounded(self, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = weight.float()
        largest = weight.abs().amax(1, keepdim=True)
        # Rounded first, so that what is multiplied by it was divided by it.
        scale = (largest.clamp(min=torch.finfo(torch.float32).tiny) / 127).bfloat16()
        return (weight / scale).round().clamp(-127, 127).to(torch.int8), {"scale": scale}

    def dense(self) -> Tensor:
        return self.weight.to(torch.bfloat16).mul_(self.scale)


class Nf4(Quantised):
    """Half a byte for each weight, and one byte for each block of them."""

    def rounded(self, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        bits, state = _functional().quantize_4bit(
            weight.float(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        inner = {"absmax": state.absmax, "code": state.code, "offset": state.offset}
        return bits, inner | {"outer": state.state2.absmax, "outer_code": state.state2.code}

    def dense(self) -> Tensor:
        functional = _functional()
        outer = functional.QuantState(
            self.outer, blocksize=OUTER, code=self.outer_code, dtype=torch.float32
        )
        state = functional.QuantState(
            self.absmax,
            shape=torch.Size([self.out_features, self.in_features]),
            code=self.code,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=torch.bfloat16,
            offset=self.offset,
            state2=outer,
        )
        return functional.dequantize_4bit(self.weight, state)


def _functional():
    try:
        from bitsandbytes import functional
    except ImportError as error:
        raise ValueError(
            "a base of nf4 needs bitsandbytes: pip install bitsandbytes, or vlm3[quantised]; "
            "int8 and bf16 need nothing"
        ) from error
    return functional
