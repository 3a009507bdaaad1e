"""Counts weights and multiply-adds of a primitive, from its functions alone.

Weights are those that `init` draws. Multiply-adds are read off the traced program of
`apply` for one image in evaluation; nothing is computed. Convolutions and dot products
count, and nothing else does: no norms, poolings, additions or other elementwise
products.

Dims: C channels, H, W sides.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.lookup import lookup
from egnas_jax.nn import lowering
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_check import SIDE, described, run
from egnas_jax.nn.primitive_edges import functions_of_kernel, kernel_from_functions
from egnas_jax.nn.primitives import PRIMITIVES


class Product(NamedTuple):
    """A convolution or a dot product of a traced program.

    Attributes:
      window: height and width of the convolution's kernel; (1, 1) of a dot product.
      groups: of channels.
      multiply_adds: of all its runs.
    """

    window: tuple[int, ...]
    groups: int
    multiply_adds: int


def edge_params(name: str, channels: int, stride: int) -> int:
    """Number of weights of one edge, with scales and shifts of norms.

    Args:
      name: of the primitive.
      channels, stride: as of `PrimitiveInit`.

    Raises:
      ValueError: there is no such primitive, or its `init` does not trace.
    """
    return _params(lookup(PRIMITIVES, name, "primitive"), channels, stride)


@functools.lru_cache(maxsize=4096)
def _params(primitive: Primitive, channels, stride) -> int:
    kernel = primitive.kernel or kernel_from_functions(primitive)
    params, _ = kernel.init(1, channels, stride, True)
    return sum(leaf.size for leaf in jax.tree.leaves(params, is_leaf=is_leaf))


def edge_multiply_adds(name: str, channels: int, stride: int, side: int) -> int:
    """Multiply-adds of one edge for one image.

    Args:
      name: of the primitive.
      channels, stride: as of `PrimitiveInit`.
      side: H = W of the state that the edge leaves, pixels.

    Raises:
      ValueError: there is no such primitive, or it does not trace.
    """
    products = edge_products(name, channels, stride, side)
    return sum(product.multiply_adds for product in products)


def edge_products(
    name: str, channels: int, stride: int, side: int
) -> tuple[Product, ...]:
    """The convolutions and dot products of one edge, in the order of the program.

    Args and errors as of `edge_multiply_adds`.
    """
    primitive = lookup(PRIMITIVES, name, "primitive")
    return _products(primitive, channels, stride, side)


def edge_expansion(name: str, channels: int) -> float:
    """How many times as large as its input the largest array of an edge is, at least 1.

    A built-in primitive has none that is larger.

    Args and errors as of `edge_multiply_adds`, with stride 1.
    """
    primitive = lookup(PRIMITIVES, name, "primitive")
    return 1.0 if primitive.kernel else _expansion(primitive, channels)


@functools.lru_cache(maxsize=4096)
def _expansion(primitive: Primitive, channels) -> float:
    images = 64  # many, so that no kernel is larger than the activations
    program = _traced(primitive, (images, SIDE, SIDE, channels), stride=1)
    largest = max(_sizes(program), default=0)
    return max(1.0, largest / (images * SIDE * SIDE * channels))


def _sizes(program) -> Iterator[int]:
    """Sizes of the arrays that a program computes, and those that it calls."""
    for equation in program.eqns:
        yield from (math.prod(variable.aval.shape) for variable in equation.outvars)
        for inner in _programs_in(equation.params):
            yield from _sizes(inner)


@functools.lru_cache(maxsize=4096)
def _products(primitive: Primitive, channels, stride, side) -> tuple[Product, ...]:
    program = _traced(primitive, (1, side, side, channels), stride)
    return tuple(products_of(program))


def _traced(primitive: Primitive, shape, stride):
    """The program of one edge in evaluation, for a state [N, H, W, C]."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    # Convolutions have to be traced as convolutions; on some backends, and in the fast
    # lowerings, they are sums of shifted images.
    if primitive.kernel is not None:
        functions = functions_of_kernel(primitive.kernel, "grouped")
        primitive = Primitive(primitive.name, *functions)
    with lowering.assume_backend("tpu"):
        variables = described(primitive, shape[-1], stride)
        apply = functools.partial(run, primitive, stride=stride, train=False)
        return jax.make_jaxpr(apply)(*variables, x).jaxpr


def products_of(program: Any) -> Iterator[Product]:
    """The convolutions and dot products of a traced program, and of those it calls.

    A loop's products count as often as it runs. Of the branches of a condition the one
    with most multiply-adds counts.

    Args:
      program: a `Jaxpr`.

    Raises:
      ValueError: there are products in a loop whose number of runs is not known.
    """
    for equation in program.eqns:
        kind = equation.primitive.name
        called = [list(products_of(inner)) for inner in _programs_in(equation.params)]
        if kind == "conv_general_dilated":
            yield _convolution(equation)
        elif kind == "dot_general":
            yield _dot_product(equation)
        elif kind == "cond":
            yield from max(called, key=_total)
        elif kind == "while" and any(called):
            raise ValueError(
                "Convolutions or dot products in a while loop cannot be counted, as "
                "the program does not say how often it runs. Use jax.lax.scan, or a "
                "fori_loop with constant limits."
            )
        else:
            times = equation.params["length"] if kind == "scan" else 1
            for product in (one for products in called for one in products):
                runs = times * product.multiply_adds
                yield product._replace(multiply_adds=runs)


def _total(products):
    return sum(product.multiply_adds for product in products)


def _programs_in(params) -> Iterator[Any]:
    """The programs among the parameters of an equation."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(one, "jaxpr", one)
            if hasattr(inner, "eqns"):
                yield inner


def _convolution(equation) -> Product:
    """Each output takes a product with every weight of its channel.

    Zeros that a transposed convolution puts between its inputs do not count.
    """
    kernel, params = equation.invars[1].aval.shape, equation.params
    layout = params["dimension_numbers"].rhs_spec  # outputs, inputs, window
    weights = math.prod(kernel) // kernel[layout[0]]
    outputs = math.prod(equation.outvars[0].aval.shape)
    return Product(
        tuple(kernel[axis] for axis in layout[2:]),
        params["feature_group_count"],
        outputs * weights // math.prod(params["lhs_dilation"]),
    )


def _dot_product(equation) -> Product:
    (summed, _), _ = equation.params["dimension_numbers"]
    operand = equation.invars[0].aval.shape
    outputs = math.prod(equation.outvars[0].aval.shape)
    count = outputs * math.prod(operand[axis] for axis in summed)
    return Product((1, 1), 1, count)
