"""Every option of a method changes the search, or is refused where it would not.

test_gradient_options.py has the options of the gradient methods, whose searches compile
at once.

What tells two configurations apart is traced and not compiled: the method's functions
with their constants.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from traced_program import traced_program

from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.runs.schedule_checks import check_schedule
from egnas_jax.runs.search_config import search_config
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.racing import Race
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.config import CHOICES, EGNASConfig
from egnas_jax.strategies.limits.config import Limit

# Two nodes: tracing takes as long as the cells have edges.
SPACE = Space("two_nodes_of_8", SPACES["darts8"].primitives, num_nodes=2)
GRADIENT_METHODS = {"darts", "pc_darts", "p_darts", "snas"}
KEY = jax.random.key(0)
LIMIT = Limit(params=3e6)
CHUNKS = dict(population_chunk=2, image_chunk=4)
BLACK_BOX = dict(
    mode="interleaved",
    generations=1,
    fitness="loss",
    fitness_batch_size=12,
    finalists=2,
    final_batches=1,
    batch_stats="running",
    limit=LIMIT,
    **CHUNKS,
)
CONTROLLER = dict(
    learning_rate=0.5,
    baseline=0.1,
    entropy_weight=1.0,
    samples=2,
    steps=1,
    finalists=1,
    hidden=4,
    conv_bias=0.0,
    fixed_bias=False,
    batches="shared",
    fitness="loss",
    batch_size=12,
    batch_stats="running",
    limit=LIMIT,
    **CHUNKS,
)
SMALL_BOX = dict(
    generations=2, fitness_batch_size=24, finalists=3, final_batches=0, **CHUNKS
) | dict(population_chunk=3, image_chunk=None)
SMALL_CONTROLLER = dict(hidden=8, samples=4, steps=2, batch_size=24, finalists=4)
# settings to start from
BASE = {
    "egnas": dict(population=6, generations=2, samples=2, fitness_batch_size=24),
    "random_search": dict(candidates=4, fitness_batch_size=24),
    "enas": SMALL_CONTROLLER,
    "nasnet_ppo": SMALL_CONTROLLER,
    "ageing_evolution": dict(SMALL_BOX, population=6, tournament=3, children=4),
    "nsga2": dict(SMALL_BOX, population=6, offspring=4),
    "epcnas_pso": dict(SMALL_BOX, particles=6),
}
# another value of every field
OTHER = {
    "egnas": {
        name: next(v for v in values[::-1] if v != getattr(EGNASConfig, name))
        for name, values in CHOICES.items()
    }
    | dict(warmup=1, fitness_batch_size=12, fitness_batches=2, population=8)
    | dict(evolution="open_es")
    | dict(generations=1, samples=1, noise=0.5, sigma_start=0.3, sigma_floor=2.0)
    | dict(zeta=0.1, eta=3.0, momentum=0.9, step=0.2, weight_grid=True, limit=LIMIT)
    | dict(CHUNKS, race=Race(budget=5), fitness="proxy:l2_norm"),
    "random_search": dict(candidates=5, fitness="proxy:l2_norm")
    | dict(fitness_batch_size=12, batch_stats="running")
    | dict(limit=LIMIT, **CHUNKS),
    "enas": CONTROLLER,
    "nasnet_ppo": CONTROLLER | dict(clip=1e-4, epochs=1, level="sequence"),
    "ageing_evolution": BLACK_BOX
    | dict(population=8, tournament=1, children=2, place="node_first"),
    "nsga2": BLACK_BOX
    | dict(population=8, offspring=2, cost="multiply_adds", point="best")
    | dict(crowding="nsga_net", parents="domination"),
    "epcnas_pso": BLACK_BOX
    | dict(particles=4, inertia=0.0, own=0.0, swarm=0.0, clamp=0.1)
    | dict(tie="fewer_params", positions="whole"),
}
# without which a field has no use
NEEDED = {
    ("egnas", "race"): dict(fitness_batches="auto", fitness_batch_size=2),
    **{
        (name, "image_chunk"): dict(batch_stats="running")
        for name, other in OTHER.items()
        if "image_chunk" in other
    },
}
# fields that have no effect in the space of the others
SPACE_OF = {("ageing_evolution", "place"): "nasbench201"}
FIELDS = [(name, field) for name, other in OTHER.items() for field in other]


@pytest.fixture(scope="module")
def signature(toy_net, toy_batch):
    """(method, settings, space) -> all by which two searches can differ."""
    variables = toy_net.init(KEY)

    @functools.cache
    def of(name, settings, space):
        config = STRATEGIES[name][0](**dict(settings))
        fields = SupernetConfig(channels=4, layers=5, num_classes=3, space=space)
        net = toy_net._replace(config=fields)
        strategy = STRATEGIES[name][1](net, config)
        batch = jax.tree.map(lambda leaf: leaf[: config.valid_batch_size], toy_batch)
        program = traced_program(
            functools.partial(search, strategy, variables, (toy_batch, batch)),
            *(KEY, jnp.int32(0)),
        )
        return program, config.valid_batch_size

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield lambda name, settings, space: of(name, tuple(settings.items()), space)


def search(strategy, variables, batches, key, epoch):
    """All functions of a method that the loop calls, in the loop's order."""
    train_batch, valid_batch = batches
    numbers = strategy.hyperparams
    momentum = jax.tree.map(jnp.zeros_like, variables["params"])
    trainee = Trainee(variables, momentum, jnp.float32(0.1), epoch, 2, 0.9, 3e-4)
    extra = {}
    if strategy.draws_batches:
        extra["draw_batch"] = lambda key, place=None: valid_batch
    state = strategy.init(key, numbers)
    batches = dict(train_batch=train_batch, valid_batch=valid_batch)
    state, info = strategy.update(key, state, numbers, trainee, **batches, **extra)
    return strategy.incumbent(state), strategy.mixing(key, state), info


def test_every_field_of_every_method_is_varied():
    assert set(OTHER) == set(BASE) == set(STRATEGIES) - GRADIENT_METHODS
    for name, other in OTHER.items():
        fields = {field.name for field in dataclasses.fields(STRATEGIES[name][0])}
        assert set(other) == fields, name


@pytest.mark.slow
@pytest.mark.parametrize("name, field", FIELDS)
def test_every_option_changes_something(name, field, signature):
    space = SPACE_OF.get((name, field), SPACE.name)
    settings = BASE[name] | NEEDED.get((name, field), {})
    first = signature(name, settings, space)
    assert signature(name, settings | {field: OTHER[name][field]}, space) != first


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BASE))
def test_equal_options_have_equal_signatures(name, signature):
    # another order of the settings is not found in the cache
    reordered = dict(reversed(BASE[name].items()))
    first = signature(name, BASE[name], SPACE.name)
    assert signature(name, reordered, SPACE.name) == first


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize(
    "setting, value", [("order", "strategy_first"), ("alpha_in_clip", True)]
)
def test_a_schedule_that_does_nothing_is_refused(name, setting, value):
    config = search_config("digits", strategy=name)
    schedule = EpochSchedule(**{setting: value})
    changed = dataclasses.replace(config, schedule=schedule)
    strategy = STRATEGIES[name][1](make_supernet(config.supernet), config.strategy)
    useless = {
        "order": strategy.update_every == "step"
        or getattr(config.strategy, "searches_last", False),
        "alpha_in_clip": strategy.one_hot or strategy.learn is not None,
    }
    check_schedule(config)
    if useless[setting]:
        with pytest.raises(ValueError, match=f"schedule.{setting}"):
            check_schedule(changed)
    else:
        check_schedule(changed)


@pytest.mark.parametrize("changed", [{}, {"drop_path": 0.0}, {"skip_dropout": None}])
def test_a_method_drops_edges_or_elements_behind_skips(changed, monkeypatch):
    own, make = STRATEGIES["darts"]
    dropout = {"drop_path": 0.1, "skip_dropout": lambda state: 0.1} | changed

    def with_dropout(net, config):
        return make(net, config)._replace(**dropout)

    monkeypatch.setitem(STRATEGIES, "darts", (own, with_dropout))
    config = search_config("digits", strategy="darts")
    if changed:
        check_schedule(config)
    else:
        with pytest.raises(ValueError, match="drop_path 0.1 and skip_dropout"):
            check_schedule(config)


@pytest.mark.parametrize("name", ["enas", "nasnet_ppo"])
@pytest.mark.parametrize("setting", [{"conv_bias": 0.0}, {"fixed_bias": False}])
def test_biases_of_convolutions_are_refused_where_there_are_none(name, setting):
    config, make = STRATEGIES[name]
    (field,) = setting
    for space, is_refused in (("darts7", False), ("nasbench201", True)):
        net = make_supernet(SupernetConfig(layers=5, space=space))
        make(net, config())
        if is_refused:
            with pytest.raises(ValueError, match=f"strategy.{field} .* {space}"):
                make(net, config(**setting))
        else:
            make(net, config(**setting))
