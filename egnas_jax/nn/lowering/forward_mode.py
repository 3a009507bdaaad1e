"""Switches gradients that are written by hand off, where forward mode is needed.

A hand-written gradient (`jax.custom_vjp`) is faster than that of autodiff, but has no
forward mode. A second derivative by reverse over forward mode compiles several times
faster than one by reverse over reverse mode, so `forward_mode` lets autodiff
differentiate the definitions.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax

from egnas_jax.types import PyTree

# part of the keys of JAX's caches, so that no trace of one mode serves the other
_IS_ON = jax.make_user_context(default_value=False)


def forward_mode() -> AbstractContextManager:
    """Returns a context that gives some networks a forward mode.

    They have the lowering `grouped` or `matrix`. The kernels of the other lowerings
    have gradients by hand that stay. The lowering
    `fused` is `shifted` inside.
    """
    return _IS_ON(True)


def differentiable(by_hand: Callable, by_autodiff: Callable) -> Callable:
    """Returns the function whose gradient the context asks for.

    Args:
      by_hand: the function with a gradient by hand and no forward mode.
      by_autodiff: the same values, differentiable in forward mode.
    """
    return by_autodiff if _IS_ON.value else by_hand


def without_gradient(
    function: Callable[..., PyTree], differentiable: Callable[..., PyTree]
) -> Callable[..., PyTree]:
    """Returns a function that another one replaces wherever it is differentiated.

    Args:
      function: has no gradient.
      differentiable: computes the same values from the same arguments.
    """
    if _IS_ON.value:
        return differentiable
    both = jax.custom_vjp(function)
    both.defvjp(
        lambda *arguments: jax.vjp(differentiable, *arguments),
        lambda backward, cotangent: backward(cotangent),
    )
    return both
