"""Shards are checked against devices and batches before anything is computed."""

import functools

import chex
import jax
import numpy as np
import pytest
import tiny_search
from small_methods import settings_of

from egnas_jax.cli.main import main
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.search.state import init_state
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.shards import Division, check_divisible, divide, rows_per_part

SHARDS = 4
# few norms, and with them few exchanges to trace
SPACE = Space(
    "traced", primitives=("avg_pool_3x3", "max_pool_3x3", "skip_connect"), num_nodes=1
)


def test_devices_are_those_that_divide_the_shards():
    assert divide(None, 3) == Division(None, 3)  # on one device
    with pytest.raises(ValueError, match="JAX sees 1"):
        divide(2, 4)


def test_a_batch_that_has_no_equal_shards_is_refused():
    check_divisible(256, Division())
    check_divisible(256, Division(None, 8))
    with pytest.raises(ValueError, match="multiple of the 3 shards. .* to 258"):
        check_divisible(256, Division(None, 3))


def test_rows_are_divided_among_shards_and_not_among_devices():
    assert rows_per_part(11, Division()) == 11
    assert rows_per_part(11, Division(None, 4)) == 3


@pytest.mark.parametrize(
    ("shards", "hint"),
    [
        ("0", "shards is 0, but must be from 1"),
        ("auto", "shards takes a whole number"),
        ("7", "must be a multiple of the 7 shards. Set batch_size to"),
    ],
)
def test_a_search_with_unusable_shards_ends_with_2(shards, hint, tmp_path, capsys):
    command = ["search", "--preset", "digits", "--out", str(tmp_path / "run")]
    assert main([*command, "--set", f"shards={shards}"]) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_method_is_traced_with_shards(name, monkeypatch):
    """Lockstep knows few ways to exchange, and tracing meets all others."""
    settings = tiny_search.OF_ANY_METHOD | settings_of(name)
    settings |= {"shards": SHARDS, "epochs": 2, "supernet.layers": 1}
    monkeypatch.setitem(SPACES, SPACE.name, SPACE)
    config = functools.partial(search_config, "digits", settings=settings)
    run = set_up_search(config(strategy=name, space=SPACE.name)).run
    first = functools.partial(init_state, run.problem, run.image_shape)
    state, span = jax.eval_shape(first, run.hyperparams), (np.int32(0), np.int32(1))
    calls = {run.programs.train: (state, span)}
    if run.problem.strategy.update_every == "epoch":
        calls[run.programs.evolve] = (state,)
    for program, arguments in calls.items():
        traced = program.func.trace(*program.args, run.hyperparams, *arguments)
        chex.assert_trees_all_equal_shapes_and_dtypes(traced.out_info[0], state)
