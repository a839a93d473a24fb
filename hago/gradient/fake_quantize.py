"""Fake quantization in PyTorch: the numbers of a TensorQuant, with straight-through gradients.

    y = (clip(round(x / s) + z, low, high) - z) * s

The gradient with respect to x is 1 inside the range of codes and 0 outside (Bengio et al.,
arXiv 1308.3432); with respect to s it is that of LSQ (Esser et al., arXiv 1902.08153, equation 3),
``round(x / s) - x / s`` inside and the bound itself outside.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hago.float8 import FORMATS, MEMORY
from hago.gradient import torch
from hago.gradient.program import Hook, Hooks, as_tensor
from hago.graph import QuantModel
from hago.scheme import DType, TensorQuant

if TYPE_CHECKING:
    from torch import Tensor



def fake_quantize(real: Tensor, quant: TensorQuant) -> Tensor:
    """``real`` rounded as ``quant`` says: equal to ``quant.decode(quant.encode(real))``."""
    scale, zero_point = numbers_of(quant, tuple(real.shape))
    if quant.scheme.dtype.is_integer:
        return round_integer(real, scale, zero_point, quant.scheme.dtype)
    return round_float(real / scale, quant.scheme.dtype) * scale


def round_integer(real: Tensor, scale: Tensor, zero_point: Tensor, dtype: DType) -> Tensor:
    """The formula above; ``scale`` may be learned."""
    low, high = dtype.code_range
    if not torch.is_grad_enabled():  # the same in place: most of the time goes into memory
        codes = (real / scale).round_().add_(zero_point).clamp(low, high)
        return codes.sub_(zero_point).mul_(scale)
    rounded: Tensor = _rounding().apply(real, scale, zero_point, low, high)[0]
    return rounded


@cache
def _rounding() -> Any:
    """The formula with its gradients as one operation.

    Of single operations the backward pass alone reads and writes the tensor a dozen times.
    """

    class Rounding(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(
            real: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int
        ) -> tuple[Tensor, Tensor]:
            unbounded = (real / scale).round_().add_(zero_point)
            codes = unbounded.clamp(low, high)
            inside = unbounded == codes
            return codes.sub_(zero_point).mul_(scale), inside

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            real, scale, *_ = inputs
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(real, scale, *output)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
            real, scale, rounded, inside = ctx.saved_tensors
            passed = gradient * inside if ctx.needs_input_grad[0] else None
            if not ctx.needs_input_grad[1]:
                return passed, None, None, None, None
            by_step = (rounded - real * inside).mul_(gradient).div_(scale)
            return passed, by_step.sum_to_size(scale.shape), None, None, None

        @staticmethod
        def vmap(
            info: Any, dims: tuple[Any, ...], real: Tensor, *numbers: Any
        ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
            assert dims[1:] == (None,) * len(numbers), "samples share their numbers"
            return Rounding.apply(real.movedim(dims[0], 0), *numbers), (0, 0)

    return Rounding


def round_float(real: Tensor, dtype: DType) -> Tensor:
    """The nearest value of a float format; 8-bit formats saturate."""
    if dtype.kind in FORMATS:
        largest = FORMATS[dtype.kind].largest
        real = real.clamp(-largest, largest)
        narrow = real.to(getattr(torch, MEMORY[dtype.kind]))
    else:
        narrow = real.to(getattr(torch, dtype.storage))
    return real + (narrow.to(torch.float32) - real).detach()


def numbers_of(quant: TensorQuant, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Scale and zero point as float32, broadcastable to a tensor of ``shape``."""
    scale, zero_point = quant.spread(shape)
    return torch.tensor(scale), torch.tensor(zero_point).to(torch.float32)


def rounds(quant: TensorQuant) -> Hook:
    """The hook that fake-quantizes by ``quant``."""
    return lambda real: fake_quantize(real, quant)


def gives(tensor: Tensor) -> Hook:
    """The hook that gives ``tensor``, whatever stood there."""
    return lambda _: tensor


def activation_hooks(model: QuantModel) -> Hooks:
    """The fake quantization of every activation edge of ``model``'s strategy."""
    return {
        (edge.dst, edge.arg): rounds(model.quants[edge])
        for edge in model.strategy
        if not edge.is_constant
    }


def constant_hooks(model: QuantModel) -> Hooks:
    """The quantized weights of ``model``, chosen codes or the float weights rounded here, and its
    biases."""
    weights = {
        (edge.dst, edge.arg): gives(as_tensor(model.quants[edge].decode(model.weights[edge])))
        if edge in model.weights
        else rounds(model.quants[edge])
        for edge in model.strategy
        if edge.is_constant
    }
    return {**weights, **bias_hooks(model)}


def bias_hooks(model: QuantModel) -> Hooks:
    """The biases that ``model`` has instead of the module's."""
    return {(edge.dst, edge.arg): gives(as_tensor(bias)) for edge, bias in model.biases.items()}


def model_hooks(model: QuantModel) -> Hooks:
    """With these the float program behaves as ``model``."""
    return {**activation_hooks(model), **constant_hooks(model)}
