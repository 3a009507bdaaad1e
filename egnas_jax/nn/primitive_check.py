"""Checks the functions of a user's own primitive, by tracing them.

Nothing is computed. A message names the primitive and the line of the user's file.

Dims: C channels.
"""

import functools
import itertools
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from egnas_jax.lookup import code_of, defined_at
from egnas_jax.nn.drawing_keys import pass_key
from egnas_jax.nn.primitive import Primitive
from egnas_jax.types import IMPL, Key, PyTree

STRIDES = (1, 2)
SIDE, IMAGES = 8, 2  # of the arrays that a check traces with
OTHER_SIDES = 16, 12  # a primitive must not depend on the size, nor need squares
FIXES = {  # name of an error -> what to do
    "InvalidRngError": (
        "A module that draws random numbers, such as Dropout, needs "
        "eg.primitive_from_linen(..., draws=True)."
    ),
}


class OneEdge(NamedTuple):
    """Draws the variables of one edge of a primitive: key -> params, batch_stats.

    Attributes:
      init: `Primitive.init`.
      channels, stride: see `PrimitiveInit`.
    """

    init: Callable
    channels: int
    stride: int

    def __call__(self, key: jax.Array) -> tuple[PyTree, PyTree]:
        return self.init(key, self.channels, self.stride)


def check_primitive(
    primitive: Primitive, channels: int, dtypes: Iterable[str] = ("float32",)
) -> None:
    """Refuses a primitive that a network cannot compute.

    It is traced with strides 1 and 2, in training and in evaluation; in training also
    with its gradient, and with images of other sides, which are no squares. Other
    numbers of channels are checked as a network is traced.

    Args:
      primitive: a primitive with functions of a user's own; others pass.
      channels: C.
      dtypes: of the images.

    Raises:
      ValueError: a function does not trace, or what it returns has another structure,
        shape or dtype than it must have. The message names the function's file and
        line.
    """
    if primitive.kernel is not None:
        return
    for stride in STRIDES:
        shapes = described(primitive, channels, stride)
        squares = itertools.product([(SIDE, SIDE)], dtypes, (True, False))
        for sides, dtype, train in (*squares, (OTHER_SIDES, "float32", True)):
            shape = (IMAGES, *sides, channels)
            x = jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
            one = functools.partial(run, primitive, stride=stride, train=train)
            jax.eval_shape(one, *shapes, x)
        _check_gradient(primitive, channels, stride)


def _check_gradient(primitive: Primitive, channels: int, stride: int) -> None:
    """Refuses a primitive through which weights cannot be trained, by tracing it."""
    params, stats = described(primitive, channels, stride)
    x = jax.ShapeDtypeStruct((IMAGES, SIDE, SIDE, channels), jnp.float32)

    def total(params, x, stats):
        y, _ = run(primitive, params, stats, x, stride=stride, train=True)
        return y.sum()

    try:
        jax.eval_shape(jax.grad(total, argnums=(0, 1)), params, x, stats)
    except Exception as error:
        what = f"the gradient of apply(stride={stride}, train=True)"
        raise _untraceable(primitive, primitive.apply, what, error) from error


@functools.lru_cache(maxsize=1024)
def described(
    primitive: Primitive, channels: int, stride: int
) -> tuple[PyTree, PyTree]:
    """Shapes of the parameters and batch_stats of one edge.

    Raises:
      ValueError: `init` cannot be traced, or returns what it must not.
    """
    one, what = OneEdge(primitive.init, channels, stride), f"init({channels}, {stride})"
    returned = []

    def drawn():
        returned.append(one(jax.random.key(0, impl=IMPL)))
        return returned[0]

    try:
        trees = jax.eval_shape(drawn)
    except Exception as error:
        _check_names(primitive, returned)  # JAX says less about names
        raise _untraceable(primitive, primitive.init, what, error) from error
    _check_variables(primitive, trees)
    return trees


def _check_names(primitive, tree):
    """Refuses dictionaries whose names cannot be sorted."""
    inner = tree.values() if isinstance(tree, Mapping) else tree
    if isinstance(tree, Mapping) and len({type(name) for name in tree}) > 1:
        shown = ", ".join(map(repr, tree))
        problem = f"init returns a dictionary with the names {shown}, of several types"
        fix = "Write all names as text"
        refuse_primitive(primitive, primitive.init, f"{problem}. {fix}")
    if isinstance(tree, Mapping | list | tuple):
        for one in inner:
            _check_names(primitive, one)


def _check_variables(primitive, trees):
    """Refuses what `init` returns unless it is (params, batch_stats) in float32."""
    complain = functools.partial(refuse_primitive, primitive, primitive.init)
    if not isinstance(trees, tuple) or len(trees) != 2:
        complain(f"init returns {_short(trees)}. Return two: (params, batch_stats)")
    for name, tree in zip(("params", "batch_stats"), trees, strict=True):
        if not isinstance(tree, Mapping):
            complain(
                f"init returns {name} {_short(tree)}. Return a dictionary, or {{}}"
            )
        for path, leaf in jax.tree.leaves_with_path(tree):
            dotted = [k for entry in path if "." in (k := str(_key(entry)))]
            if dotted:
                complain(
                    f"init returns {name} with the name {dotted[0]!r}. A dot separates "
                    f"the names of a path in files of weights: leave it out, as in "
                    f"{dotted[0].replace('.', '_')!r}"
                )
            if leaf.dtype != jnp.float32:
                where = f"{name}{jax.tree_util.keystr(path)}"
                complain(f"init returns {where} in {leaf.dtype}. Return float32 arrays")


def run(
    primitive: Primitive,
    params: PyTree,
    batch_stats: PyTree,
    x: jax.Array,
    *,
    stride: int,
    train: bool,
    key: Key | None = None,
) -> tuple[jax.Array, PyTree]:
    """Calls `apply` of a primitive, and checks what it returns.

    Args:
      primitive: the primitive.
      params, batch_stats, x, stride, train: see `PrimitiveApply`.
      key: of the edge, where the primitive draws; None: a constant one.

    Returns:
      The output, and the new batch_stats; in evaluation those that were given.

    Raises:
      ValueError: `apply` cannot be traced, or returns what it must not.
    """
    what = f"apply(x {x.dtype}{list(x.shape)}, stride={stride}, train={train})"
    complain = functools.partial(refuse_primitive, primitive, primitive.apply)
    drawing = {"key": pass_key(key) if key is None else key} if primitive.draws else {}
    try:
        returned = primitive.apply(params, batch_stats, x, stride, train, **drawing)
    except Exception as error:
        raise _untraceable(primitive, primitive.apply, what, error) from error
    if not isinstance(returned, tuple) or len(returned) != 2:
        complain(f"{what} returns {_short(returned)}. Return two: (y, batch_stats)")
    y, new_stats = returned
    if not hasattr(y, "dtype"):
        complain(f"{what} returns y = {_short(y)}. Return an array")
    images, height, width, channels = x.shape
    expected = (images, -(-height // stride), -(-width // stride), channels)
    if jnp.shape(y) != expected:
        complain(f"{what} returns shape {jnp.shape(y)}. The output must be {expected}")
    if jnp.result_type(y) != x.dtype:
        fix = f"Return the dtype of x, as by y.astype(x.dtype): {x.dtype}"
        complain(f"{what} returns {jnp.result_type(y)}. {fix}")
    if not train:
        return y, batch_stats
    if _layout(new_stats) != _layout(batch_stats):
        complain(
            f"{what} returns batch_stats {_short(new_stats)}, but was given "
            f"{_short(batch_stats)}. Structure, shapes and dtypes must stay"
        )
    # A mapping of any type is taken, but networks compare types.
    structure = jax.tree.structure(batch_stats)
    return y, jax.tree.unflatten(structure, jax.tree.leaves(new_stats))


def _key(entry):
    """The name of an entry of a path; of an entry of a list, its position."""
    return getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", "")))


def refuse_primitive(
    primitive: Primitive, function: Callable, problem: str
) -> NoReturn:
    """Raises the error of a primitive with what is wrong.

    Args:
      primitive: the primitive.
      function: one of its functions, whose file and line are named.
      problem: a sentence or more, without the last full stop.

    Raises:
      ValueError: always.
    """
    where = defined_at(function)
    raise ValueError(f"The primitive {primitive.name} ({where}): {problem}.")


def _untraceable(primitive, function, what, error) -> ValueError:
    """The error of a function that raises; names the last line of the user's file."""
    code, where = code_of(function), defined_at(function)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if code and f.filename == code.co_filename]
    if lines:
        where = f"{code.co_filename}:{lines[-1]}"
    reason = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    fix = FIXES.get(kind)
    return ValueError(
        f"The primitive {primitive.name} ({where}): {what} cannot be traced: "
        f"{kind}: {reason}{f' {fix}' if fix else ''}"
    )


def _layout(tree):
    """Structure, shapes and dtypes; a mapping of any type counts as a dictionary."""
    leaves = jax.tree.leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): (jnp.shape(leaf), jnp.result_type(leaf))
        for path, leaf in leaves
    }


def _short(value):
    """What a value is, for a message: shapes of arrays, else the value."""
    shown = jax.tree.map(lambda leaf: getattr(leaf, "shape", leaf), value)
    return str(shown)[:120]
