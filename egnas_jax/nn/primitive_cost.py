"""Counts weights and multiply-adds of a primitive, from its functions alone.

Weights are those that `init` draws. Multiply-adds are read off the traced program of
`apply` for one image in evaluation; nothing is computed. Convolutions and dot products
count, also those whose results nothing reads, and nothing else does: no norms,
poolings, additions or other elementwise products.

Dims: C channels, H, W sides.
"""

import functools
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from egnas_jax.lookup import lookup
from egnas_jax.nn import lowering
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_check import SIDE, described, refuse_primitive, run
from egnas_jax.nn.primitive_edges import functions_of_kernel, kernel_from_functions
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.nn.traced import programs_in

# operations whose products cannot be read off the program
_UNCOUNTED = re.compile(r"dot|matmul|attention")
_REPEATED = {
    "while": "a while loop",
    "pallas_call": "a kernel of Pallas",
}


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
      channels, stride: see `PrimitiveInit`.

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
      channels, stride: see `PrimitiveInit`.
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

    For arguments and errors see `edge_multiply_adds`.
    """
    primitive = lookup(PRIMITIVES, name, "primitive")
    return _products(primitive, channels, stride, side)


def edge_expansion(name: str, channels: int) -> float:
    """How many times as large as its input the largest array of an edge is, at least 1.

    A built-in primitive has none that is larger.

    For arguments and errors see `edge_multiply_adds`, with stride 1.
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
        for inner in programs_in(equation.params):
            yield from _sizes(inner)


@functools.lru_cache(maxsize=4096)
def _products(primitive: Primitive, channels, stride, side) -> tuple[Product, ...]:
    program = _traced(primitive, (1, side, side, channels), stride)
    try:
        return tuple(products_of(program))
    except ValueError as error:
        problem = f"apply(stride={stride}, train=False): {str(error).rstrip('.')}"
        refuse_primitive(primitive, primitive.apply, problem)


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
    with most multiply-adds counts. Products whose results nothing reads count, too.

    Args:
      program: a `Jaxpr`.

    Raises:
      ValueError: there are products in a loop whose number of runs is not known, or
        within an operation that does not show them.
    """
    for equation in program.eqns:
        kind = equation.primitive.name
        called = [list(products_of(inner)) for inner in programs_in(equation.params)]
        if kind in _COUNTS:
            yield _COUNTS[kind](equation)
        elif kind == "cond":
            yield from max(called, key=_total)
        elif kind in _REPEATED and any(called):
            raise ValueError(
                f"Convolutions or dot products in {_REPEATED[kind]} cannot be counted, "
                f"as the program does not say how often it runs. Use jax.lax.scan, or "
                f"a fori_loop with constant limits."
            )
        elif not called and _UNCOUNTED.search(kind):
            raise ValueError(
                f"The operation {kind} has products that cannot be counted. Write them "
                f"as jax.lax.dot_general, jnp.einsum or @."
            )
        else:
            times = equation.params["length"] if kind == "scan" else 1
            for product in (one for products in called for one in products):
                runs = times * product.multiply_adds
                yield product._replace(multiply_adds=runs)


def _total(products):
    return sum(product.multiply_adds for product in products)


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


def _ragged_dot_product(equation) -> Product:
    """Each row meets the matrix of its own group alone.

    So every element of the left operand is multiplied with each free column of one
    group of the right operand.
    """
    numbers = equation.params["ragged_dot_dimension_numbers"]
    (_, summed), (_, batched) = numbers.dot_dimension_numbers
    rows, matrices = (v.aval.shape for v in equation.invars[:2])
    taken = {*summed, *batched, *numbers.rhs_group_dimensions}
    columns = math.prod(n for axis, n in enumerate(matrices) if axis not in taken)
    return Product((1, 1), 1, math.prod(rows) * columns)


_COUNTS = {
    "conv_general_dilated": _convolution,
    "dot_general": _dot_product,
    "ragged_dot_general": _ragged_dot_product,
}
