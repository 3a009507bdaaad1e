"""Builds rows of one mixed cell, to compare the lowerings of its kernels.

A single cell compiles in seconds, where a supernet takes minutes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from benchmarks import parity, rows
from benchmarks.deviceless.cells import PROGRAMS
from egnas_jax.types import PyTree


def build(case: parity.Case, program: str, precision: str, lowering: str) -> rows.Row:
    """Builds a row; all lowerings of a program get the same arrays.

    Args:
      case: supernet, and numbers of individuals and images.
      program: a key of `deviceless.cells.PROGRAMS`.
      precision: a key of `rows.PRECISIONS`.
      lowering: a key of `nn.lowering.CHOICES`.
    """
    config = dataclasses.replace(case.config, lowering=lowering)
    cell = PROGRAMS[program](case._replace(config=config), precision)
    variables = jax.tree.map(jnp.asarray, parity.drawn_leaves(cell.variables))
    return rows.Row(
        name=f"{program} in {lowering}",
        precision=precision,
        function=cell.function,
        arguments=(variables, *normal(cell.others)),
        options={},
        run=rows.same_arguments if program == "cell-step" else first_individual,
        images=cell.images,
        products=None,
        bytes=cell.bytes,
    )


def normal(shapes: PyTree) -> PyTree:
    """Arrays of standard normal numbers."""
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    return structure.unflatten(
        jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    )


def first_individual(program, arguments):
    """Calls a program and keeps one individual, which the host can compare."""
    return program(*arguments)[:1], arguments
