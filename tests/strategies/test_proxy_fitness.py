"""A zero-cost proxy is the fitness of a method, and then no weights are trained."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_search
from own_primitives import CONV_NORM

import egnas_jax as eg
from egnas_jax.cli.main import main
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.proxies import PROXIES, of_mixing, score
from egnas_jax.proxies.names import NAMES
from egnas_jax.runs.presets import PRESETS
from egnas_jax.runs.schedule_checks import warmup_of
from egnas_jax.runs.search_config import from_dict
from egnas_jax.search.relax import unweighted
from egnas_jax.settings import as_dict
from egnas_jax.space import SPACES
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.strategies import STRATEGIES, proxy_fitness
from egnas_jax.strategies.controller.config import ENASConfig
from egnas_jax.strategies.controller.rewards import RewardEvaluator
from egnas_jax.strategies.discrete.cells import cells_of
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.proxy_fitness import (
    STREAM,
    images_of_cell,
    make_cell_evaluate,
    make_proxy_evaluate,
    proxy_of,
)
from egnas_jax.strategies.random_search import RandomSearchConfig
from egnas_jax.training.random_streams import stream

CONTROLLERS = ("enas", "nasnet_ppo")
RANKING = ("egnas", "random_search", "ageing_evolution", "nsga2", "epcnas_pso")
RANKING += CONTROLLERS
PARAMS = {"strategy.fitness": "proxy:params"}
# so many that each method sees the cell with the most weights
SETTINGS = {
    "egnas": {"strategy.population": 16, "strategy.eta": 0.0, "strategy.step": 10.0},
    "random_search": {"strategy.candidates": 500},
    "ageing_evolution": {"strategy.generations": 60},
    "enas": {"strategy.finalists": 40},
    "nasnet_ppo": {"strategy.finalists": 40},
}


@pytest.fixture(scope="module")
def scored():
    """Supernet, variables, all nine cells of two edges, and a batch."""
    with tiny_search.registered_space():
        config = eg.SupernetConfig(
            channels=4, layers=2, num_classes=3, partial_channels=1, space="tiny"
        )
        net = eg.make_supernet(config)
        variables = net.init(jax.random.key(0), (8, 8, 1))
        choices = jnp.asarray([[i, j] for i in range(3) for j in range(3)])
        rows = jax.nn.one_hot(choices, 3)
        cells = unweighted({kind: rows for kind in tiny_search.SPACE.kinds})
        images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
        yield net, variables, cells, eg.Batch(images, jnp.asarray([0, 1, 2, 0]))


def test_names_are_those_of_the_table():
    assert tuple(PROXIES) == NAMES


@pytest.mark.parametrize(
    "name", ["l2_norm", pytest.param("naswot", marks=pytest.mark.slow)]
)
def test_a_cell_is_scored_under_the_weights_of_the_supernet(name, scored):
    net, variables, cells, batch = scored
    key = jax.random.key(7)
    evaluate = make_proxy_evaluate(net, f"proxy:{name}", variables, batch, key)
    result = jax.jit(evaluate)(cells)
    one = jax.tree.map(lambda leaf: leaf[5], cells)
    own_key = jax.random.fold_in(key, STREAM)

    @jax.jit
    def alone(variables):
        return score([name], of_mixing(net, one), variables, batch, own_key)[name]

    np.testing.assert_allclose(result.loss[5], -alone(variables), rtol=1e-4)
    scores = -np.asarray(result.loss)
    assert len(set(scores.tolist())) > 3
    lower = [int((scores < value).sum()) for value in scores]
    assert result.correct.tolist() == [1 + number for number in lower]
    assert np.all(np.isinf(result.accuracy))


@pytest.mark.parametrize(
    "name", ["l2_norm", pytest.param("naswot", marks=pytest.mark.slow)]
)
def test_scores_do_not_depend_on_how_many_cells_are_scored_at_a_time(name, scored):
    net, variables, cells, batch = scored

    def losses(chunk):
        arguments = net, f"proxy:{name}", variables, batch, jax.random.key(7)
        evaluate = make_proxy_evaluate(*arguments, population_chunk=chunk)
        return jax.jit(evaluate)(cells).loss

    alone = losses(None)
    assert alone.shape == (9,)
    np.testing.assert_allclose(losses(4), alone, rtol=1e-5)  # the last chunk is padded


def scans(evaluate, cells):
    """Lengths of the loops that the outermost level of a program has."""
    equations = jax.make_jaxpr(evaluate)(cells).jaxpr.eqns
    return [e.params["length"] for e in equations if e.primitive.name == "scan"]


def test_chunks_are_those_of_the_settings_or_of_the_free_memory(scored, monkeypatch):
    net, variables, cells, batch = scored
    key = jax.random.key(0)

    def loops(chunk):
        config = RandomSearchConfig(fitness="proxy:params", population_chunk=chunk)
        return scans(make_cell_evaluate(net, config, variables, batch, key), cells)

    assert loops(None) == [9]  # a CPU scores one cell at a time
    assert loops(4) == [3] and loops(100) == [1]
    monkeypatch.setattr(proxy_fitness, "cells_at_a_time", lambda *a, **k: 5)
    assert loops(None) == [2]


def test_a_cell_without_a_score_ranks_last(scored, monkeypatch):
    def broken(network, variables, batch, key):
        return jnp.nan

    monkeypatch.setitem(PROXIES, "zen", PROXIES["zen"]._replace(score=broken))
    net, variables, cells, batch = scored
    result = make_proxy_evaluate(net, "proxy:zen", variables, batch, jax.random.key(0))(
        cells
    )
    assert np.all(np.isnan(result.loss)) and set(result.correct.tolist()) == {1}


def test_the_cost_of_a_cell_is_what_its_score_takes():
    assert images_of_cell("loss", 64) == images_of_cell("compound", 64) == 64
    costs = {name: images_of_cell(f"proxy:{name}", 64) for name in NAMES}
    assert costs == {
        "params": 0,
        "multiply_adds": 0,
        "l2_norm": 0,
        "grad_norm": 192,
        "snip": 192,
        "grasp": 576,
        "synflow": 3,  # one image of ones
        "fisher": 192,
        "jacov": 192,
        "naswot": 64,
        "zen": 128,
    }


@pytest.mark.parametrize("name", RANKING)
def test_an_unknown_fitness_is_refused(name):
    config = STRATEGIES[name][0]
    with pytest.raises(ValueError, match="Did you mean synflow"):
        config(fitness="proxy:synflo")
    with pytest.raises(ValueError, match=r"strategy\.fitness is 'synflow'.*proxy:NAME"):
        config(fitness="synflow")
    assert proxy_of(config(fitness="proxy:synflow").fitness) == "synflow"
    assert proxy_of(config().fitness) is None


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("proxy", ["jacov", "naswot"])
def test_a_proxy_that_compares_images_needs_two(name, proxy):
    config, fitness = STRATEGIES[name][0], f"proxy:{proxy}"
    field = "batch_size" if name in CONTROLLERS else "fitness_batch_size"
    message = rf"strategy\.{field} is 1, but {proxy} .* at least 2\."
    with pytest.raises(ValueError, match=message):
        config(fitness=fitness, **{field: 1})
    assert config(fitness=fitness, **{field: 2}).valid_batch_size == 2
    one = config(fitness="proxy:zen", **{field: 1})  # compares noise instead
    assert one.valid_batch_size == 1


def test_images_of_all_fitness_batches_are_compared():
    options = dict(fitness="proxy:jacov", fitness_batch_size=1)
    assert EGNASConfig(**options, fitness_batches=2).valid_batch_size == 2


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - set(RANKING)))
def test_methods_that_do_not_rank_take_no_proxy(name):
    with pytest.raises(ValueError, match="fitness"):
        eg.search_config("digits", strategy=name, settings=PARAMS)


@pytest.mark.parametrize("name", RANKING)
def test_options_that_do_nothing_beside_a_proxy_are_refused(name):
    useless = {"batch_stats": "running", "image_chunk": 8, "warmup": 20}
    if name == "egnas":
        del useless["batch_stats"]  # of a variant, whose fitness alone was changed
    else:
        del useless["warmup"]  # they have none
    for field, value in useless.items():
        message = rf"strategy\.{field} is {value}, but strategy\.fitness is proxy:snip"
        with pytest.raises(ValueError, match=message):
            STRATEGIES[name][0](fitness="proxy:snip", **{field: value})


def test_a_stored_option_that_does_nothing_is_read_as_the_default():
    config = eg.search_config("digits", strategy="random_search", settings=PARAMS)
    stored = copy.deepcopy(as_dict(config))
    stored["strategy"] |= {"batch_stats": "running", "image_chunk": 8}
    assert from_dict(stored) == config


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", RANKING)
def test_presets_and_variants_take_a_proxy(preset, name):
    eg.search_config(preset, strategy=name, settings=PARAMS)
    if name == "egnas":
        for variant in ("official", "reproduction"):
            eg.search_config(preset, variant=variant, settings=PARAMS)


def test_individuals_do_not_race_for_scores():
    with pytest.raises(ValueError, match="race for batches of trained weights"):
        EGNASConfig(fitness="proxy:params", fitness_batches="auto")


def test_a_fitness_under_given_weights_takes_no_proxy(toy_net):
    options = EGNASConfig(fitness="proxy:params")
    with pytest.raises(ValueError, match=r"eg\.proxies\.score"):
        eg.evaluate_fitness(toy_net, {}, {}, None, [], [], options)


@pytest.mark.parametrize("name", ["egnas", "random_search", "ageing_evolution"])
def test_a_space_with_primitives_of_ones_own_is_refused(name, monkeypatch):
    for table, entry in ((PRIMITIVES, CONV_NORM), (FAMILIES, "own")):
        monkeypatch.setitem(table, CONV_NORM.name, entry)
    primitives = ("skip_connect", CONV_NORM.name)
    space = eg.Space("with_own", primitives=primitives, num_nodes=1)
    monkeypatch.setitem(SPACES, "with_own", space)
    net = eg.make_supernet(eg.SupernetConfig(channels=4, layers=2, space="with_own"))
    config, make = STRATEGIES[name]
    make(net, config())
    with pytest.raises(ValueError, match="primitives of your own"):
        make(net, config(fitness="proxy:params"))


def search(name, epochs=2, **options):
    settings = {**tiny_search.OF_ANY_METHOD, **SETTINGS.get(name, {}), **PARAMS}
    config = eg.search_config(
        "digits",
        strategy=name,
        space="tiny",
        settings={**settings, "epochs": epochs},
    )
    return eg.run_search(config, **options)


def check_nothing_was_trained(result):
    seed = np.uint32(result.config.seed)
    start = result.net.init(stream(seed, "weights"), (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, result.variables, start)
    for record in result.records:
        assert record["weight_cost"] == record["search_cost"] == 0
        assert record["train_loss"] is record["train_accuracy"] is None
        assert record.get("fitness_accuracy") is None


def count(genotype):
    """Number of edges with weights; both cells of the supernet are reduction cells."""
    return sum(name == "dil_conv_3x3" for name, _ in genotype.reduce)


def test_random_search_by_weights_finds_the_largest_cell_and_trains_none(
    tmp_path, capsys
):
    settings = {**tiny_search.OF_ANY_METHOD, **SETTINGS["random_search"], **PARAMS}
    words = ["--set", "epochs=1", *tiny_search.words(settings), "--space", "tiny"]
    out = ["--out", str(tmp_path / "run")]
    with tiny_search.registered_space():
        assert main(["search", "--strategy", "random_search", *words, *out]) == 0
        result = eg.load_search(tmp_path / "run")
    (line,) = [s for s in capsys.readouterr().err.splitlines() if "epoch" in s[:6]]
    assert "train" not in line and "valid" in line
    check_nothing_was_trained(result)
    assert count(result.genotype) == 2
    record = result.records[-1]
    assert record["fitness"] == record["population_fitness_min"]


@pytest.mark.slow
def test_a_search_without_weight_steps_is_resumed_bit_for_bit(tmp_path):
    with tiny_search.registered_space():
        result = search("random_search")
        search("random_search", out=tmp_path / "run", stop_after=1)
        resumed = search("random_search", out=tmp_path / "run", resume=True)
    digests = [record["digest"] for record in resumed.records]
    assert digests == [record["digest"] for record in result.records]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["egnas", "ageing_evolution"])
def test_other_methods_by_weights_find_large_cells(name):
    with tiny_search.registered_space():
        result = search(name, epochs=6 if name == "egnas" else 1)
    check_nothing_was_trained(result)
    assert count(result.genotype) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_controller_by_weights_trains_no_others(name):
    with tiny_search.registered_space():
        result = search(name, epochs=2)
    check_nothing_was_trained(result)
    assert count(result.genotype) == 2
    # the score of the best cell, and not its rank
    assert result.records[-1]["fitness"] < -100
    assert 0 < result.records[-1]["reward"] < 1


def test_a_controller_is_rewarded_for_ranks():
    config = ENASConfig(fitness="proxy:zen", samples=5)
    cells = cells_of(tiny_search.SPACE)
    evaluator = RewardEvaluator(None, config, tiny_search.SPACE, cells, None)
    values = jnp.asarray([-30.0, 2000.0, -jnp.inf, -30.0, 5.0])
    reward = evaluator.rewards_of(values, jnp.zeros((5, 8), jnp.int32))
    np.testing.assert_allclose(reward, [0.2, 0.8, 0.0, 0.2, 0.6], rtol=1e-6)
    assert evaluator.fitness(values, reward) == -2000.0


def test_a_loss_that_is_no_number_is_rewarded_least():
    cells = cells_of(tiny_search.SPACE)
    for fitness, values, expected in (
        ("loss", [-2.0, -jnp.inf, 0.5], [-2.0, -2.0, 0.5]),
        ("accuracy", [0.2, -jnp.inf, 0.5], [0.2, 0.0, 0.5]),
    ):
        config = ENASConfig(fitness=fitness, samples=3)
        evaluator = RewardEvaluator(None, config, tiny_search.SPACE, cells, None)
        choices = jnp.zeros((3, 8), jnp.int32)
        reward = evaluator.rewards_of(jnp.asarray(values), choices)
        np.testing.assert_allclose(reward, expected, rtol=1e-6)


@pytest.mark.slow
def test_searches_that_run_as_one_program_train_no_weights_either():
    with tiny_search.registered_space():
        alone = search("random_search", 1)
        configs = [alone.config, alone.config]
        both = eg.run_searches(configs, batched=2)
    for result in both.results:
        check_nothing_was_trained(result)
        assert result.genotype == alone.genotype


def test_untrained_weights_need_no_warm_up():
    for settings, warmup in (({}, 1), (PARAMS, 0)):  # 1 is the preset's
        assert warmup_of(eg.search_config("digits", settings=settings)) == warmup
    assert warmup_of(eg.search_config("digits", strategy="pc_darts")) == 2
