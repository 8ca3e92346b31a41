"""Multiply-adds of a computation, counted from the shapes in its jaxpr: nothing is compiled or run.

Two floating-point operations each, they are what a model FLOP utilisation sets against a device's peak. XLA's own cost
analysis is close, but counts elementwise operations beside them, leaves out what a convolution multiplies with padding,
and counts the body of a loop once, however often it runs.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def multiply_adds(function: Callable, *arguments) -> int:
    """Multiply-adds of the matrix products and convolutions in `function(*arguments)`.

    Counted are `dot_general` (einsum, matmul, Dense) and `conv_general_dilated`, however deeply nested: what a `scan`
    repeats as often as it does, of the branches of a `cond` the one with most, what `remat` computes twice twice, under
    `pmap` or `shard_map` one device's share. A convolution counts as if padding, and the zeros between the pixels of a
    dilated one, were pixels; so the gradient of a strided one counts more than twice its forward pass.

    Not counted are elementwise operations and reductions: activations, LayerNorm, softmax, biases, and a depthwise
    convolution that is written as shifted multiply-adds, as `cswin.LePE` is (0.3 % of the paper's backbone).

    Args:
        function: anything that JAX can trace.
        arguments: arrays, `jax.ShapeDtypeStruct`s, or trees of them; only their shapes matter.

    Returns:
        The number of multiply-adds.

    Raises:
        ValueError: if a `while` loop holds such operations, because the jaxpr doesn't tell how often it runs.
    """
    return _in_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _in_jaxpr(jaxpr: core.Jaxpr) -> int:
    return sum(_in_equation(equation) for equation in jaxpr.eqns)


def _in_equation(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    operands: list[Any] = [variable.aval for variable in equation.invars]
    results: list[Any] = [variable.aval for variable in equation.outvars]
    if name == "dot_general":
        (contracted_axes, _), _ = params["dimension_numbers"]
        return results[0].size * math.prod(operands[0].shape[axis] for axis in contracted_axes)
    if name == "conv_general_dilated":
        kernel = operands[1]
        out_channels = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return results[0].size * (kernel.size // out_channels)
    nested = [_in_jaxpr(jaxpr) for jaxpr in _nested_jaxprs(params)]
    if name == "while" and any(nested):
        raise ValueError(
            "A while loop holds matrix products or convolutions, and how often it runs is not known before it does; "
            "write it as a scan or a fori_loop of fixed length."
        )
    if name == "cond":
        return max(nested)
    return sum(nested) * (params["length"] if name == "scan" else 1)


def _nested_jaxprs(params: dict) -> Iterator[core.Jaxpr]:
    """The computations inside an equation: of a jit, a loop, a checkpoint, a custom derivative."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
