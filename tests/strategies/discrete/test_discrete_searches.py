"""Black-box searches and controllers as strategies, on the toy supernet."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.search.loop import metrics_on_host
from egnas_jax.search.strategy import Strategy, Trainee
from egnas_jax.space import SPACES, derive
from egnas_jax.storage import records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.discrete import nsga2 as nsga2_module
from egnas_jax.strategies.discrete.config import BlackBoxConfig
from egnas_jax.strategies.discrete.finalists import (
    mean_fitness,
    reevaluate_best,
    reevaluate_members,
)
from egnas_jax.strategies.discrete.generations import (
    WORST,
    BlackBoxState,
    Proposer,
    course_of,
    in_blocks,
    no_search,
    search_once,
    with_best,
)
from egnas_jax.strategies.discrete.nsga2 import NSGA2Config, front_metrics, nsga2

KEY = jax.random.key(0)
BLACK_BOX = dict(
    generations=3, fitness="loss", fitness_batch_size=24, finalists=3, final_batches=0
)
CONTROLLER = dict(hidden=8, samples=4, steps=2, batch_size=24, finalists=4)
SMALL = {
    "ageing_evolution": dict(BLACK_BOX, population=6, tournament=3, children=4),
    "nsga2": dict(BLACK_BOX, population=6, offspring=4),
    "epcnas_pso": dict(BLACK_BOX, particles=6),
    "enas": CONTROLLER,
    "nasnet_ppo": CONTROLLER,
}


def noisy(batch, key, place=None):
    """Another batch of the same classes."""
    key = key if place is None else jax.random.fold_in(key, place)
    noise = jax.random.normal(key, batch.images.shape)
    return batch.replace(images=batch.images + noise)


@pytest.fixture(scope="module")
def variables(toy_net):
    return toy_net.init(jax.random.key(1))


@pytest.fixture(scope="module")
def searched(toy_net, toy_batch, variables):
    """(name, epoch, epochs, settings) -> strategy, first state, new state, metrics."""

    @functools.cache  # many tests share the search of the small settings
    def run(name, epoch=0, epochs=1, **settings):
        config, make = STRATEGIES[name]
        strategy = make(toy_net, config(**{**SMALL[name], **settings}))
        state = strategy.init(KEY, strategy.hyperparams)
        trainee = Trainee(variables, None, 0.1, epoch=epoch, epochs=epochs)
        batches = dict(train_batch=toy_batch, valid_batch=toy_batch)
        if strategy.draws_batches:
            batches["draw_batch"] = functools.partial(noisy, toy_batch)
        update = jax.jit(
            lambda key, state: strategy.update(
                key, state, strategy.hyperparams, trainee, **batches
            )
        )
        return strategy, state, *update(KEY, state)

    return run


@pytest.mark.slow
def test_two_phases_search_after_the_last_epoch_alone(searched):
    _, before, rested, info = searched("ageing_evolution", epoch=0, epochs=2)
    for leaf, other in zip(
        jax.tree.leaves(before), jax.tree.leaves(rested), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    # missing numbers, which NaN would be too, but for processes that look for NaN
    missing = np.hstack([info[name] for name in set(info) - {"candidate_images"}])
    assert info["candidate_images"] == 0 and np.isinf(missing).all()
    assert set(records.plain(missing.tolist())) == {None}
    _, _, _, info = searched("ageing_evolution", epoch=1, epochs=2)
    # the six cells of the queue are two calls of four cells
    assert info["candidate_images"] == 24 * (8 + 3 * 4) and info["fitness"] < 5


@pytest.mark.slow
def test_interleaved_searches_in_every_epoch(searched):
    _, _, _, info = searched("ageing_evolution", epochs=9, mode="interleaved")
    assert info["candidate_images"] > 0 and np.isfinite(info["fitness"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ageing_evolution", "epcnas_pso", "enas"])
def test_the_incumbent_is_a_whole_cell(name, searched):
    strategy, _, state, info = searched(name)
    mixing = jax.tree.map(np.asarray, strategy.incumbent(state))
    for kind in ("normal", "reduce"):
        assert mixing.edges[kind].sum() == 8
    assert len(derive(SPACES["darts7"], mixing).normal) == 8
    assert all(np.isfinite(value).all() for value in info.values())


@pytest.mark.slow
def test_the_incumbent_of_ageing_evolution_is_the_best_cell_seen(
    searched, toy_net, toy_batch, variables
):
    strategy, _, state, info = searched("ageing_evolution")
    mixing = strategy.incumbent(state)
    logits, _ = toy_net.apply(variables, toy_batch.images, mixing, train=True)
    loss = -jax.nn.log_softmax(logits)[jnp.arange(24), toy_batch.labels].mean()
    assert info["fitness"] == pytest.approx(float(loss), rel=1e-5)
    assert info["fitness"] <= jnp.min(state.proposer.fitness)


@pytest.fixture
def state():
    """A state with the two best of cells of one number, 7 with 0.2 and 5 with 0.4."""
    state = BlackBoxState((), jnp.zeros((3, 1), jnp.int32), jnp.full((3,), WORST))
    return with_best(state, jnp.asarray([[5], [7], [5]]), jnp.asarray([0.4, 0.2, 0.1]))


def test_the_best_cells_stand_once_and_in_order(state):
    # The third cell is the first again: what was known first counts.
    assert state.best[:2].tolist() == [[7], [5]]
    np.testing.assert_allclose(state.best_fitness, [0.2, 0.4, WORST])
    new = with_best(state, jnp.asarray([[3], [9]]), jnp.asarray([0.2, 0.3]))
    assert new.best.tolist() == [[7], [3], [9]]


def test_finalists_are_ordered_by_other_images(state):
    def evaluate(cells, place):
        # mean over two batches: 7 -> 0.7, 5 -> 0.5; what is unknown counts last
        return jnp.where(
            cells[:, 0] == 0, 0.0, cells[:, 0] / 10 + (jnp.float32(place) - 0.5)
        )

    info = {"evaluations": jnp.float32(9.0)}
    new, metrics = reevaluate_best((state, info), 2, evaluate)
    assert new.best[:2].tolist() == [[5], [7]]
    np.testing.assert_allclose(new.best_fitness[:2], [0.4, 0.2])
    assert metrics["final_fitness"] == pytest.approx(0.5)
    assert metrics["evaluations"] == 9 + 2 * 3
    same, metrics = reevaluate_best((state, info), 0, evaluate)
    assert same is state and metrics["final_fitness"] == pytest.approx(0.2)


def test_the_first_cells_fill_the_last_block():
    blocks = in_blocks(jnp.arange(5)[:, None], 3)
    assert blocks[..., 0].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert in_blocks(jnp.arange(4), 4).tolist() == [[0, 1, 2, 3]]
    assert in_blocks(jnp.arange(2), 5).tolist() == [[0, 1, 0, 1, 0]]


@pytest.fixture
def counted():
    """What proposes the numbers from 10 on, of a population of five, in threes."""

    def tell(state, cells, fitness):
        seen = state["seen"].at[cells[:, 0] - 10].set(fitness)
        return state | {"next": state["next"] + 3, "seen": seen}

    return Proposer(
        init=lambda key: {
            "population": jnp.arange(5)[:, None],
            "fitness": jnp.zeros(5),
            "next": jnp.int32(10),
            "seen": jnp.zeros(6),
        },
        members=lambda state: state["population"],
        revalue=lambda state, fitness: state | {"fitness": fitness},
        ask=lambda key, state: (state, (state["next"] + jnp.arange(3))[:, None]),
        tell=tell,
    )


def test_a_search_tells_the_population_and_then_each_generation(counted):
    def evaluate(cells):  # the best is 12
        return jnp.abs(cells[:, 0].astype(jnp.float32) - 11.6)

    first = counted.init(KEY)
    state = BlackBoxState(first, jnp.zeros((2, 1), jnp.int32), jnp.full((2,), WORST))
    search = jax.jit(lambda key, state: search_once(key, state, counted, evaluate, 2))
    new, info = search(KEY, state)
    found = new.proposer
    np.testing.assert_allclose(found["fitness"], 11.6 - np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(found["seen"], abs(np.arange(10, 16) - 11.6), rtol=1e-5)
    assert found["next"] == 16
    assert new.best[:, 0].tolist() == [12, 11]
    assert info["fitness"] == pytest.approx(0.4, rel=1e-5)
    assert info["evaluations"] == 6 + 2 * 3
    # the best of the population is 4, that of 10 to 12 is 12
    assert info["generation"].tolist() == [1, 2]
    np.testing.assert_allclose(info["fitness_by_generation"], [0.4, 0.4], rtol=1e-5)


def test_the_course_of_a_long_search_has_fifty_points(counted):
    metrics = {"fitness": jnp.arange(345.0), "queue_fitness": jnp.zeros(345)}
    course = course_of(metrics)
    places = course["generation"]
    assert places.shape == (50,) and (places[0], places[-1]) == (1, 345)
    np.testing.assert_array_equal(course["fitness_by_generation"], places - 1)
    rested = no_search(
        counted, BlackBoxState((), None, None), BlackBoxConfig(generations=345)
    )
    assert rested["fitness_by_generation"].shape == (50,)
    assert metrics_on_host(rested)["fitness_by_generation"] is None


def test_a_front_is_judged_by_other_images_and_the_rest_counts_no_more(counted):
    def answer(state):
        index = jnp.argmin(state["fitness"])
        return state["population"][index], state["fitness"][index]

    proposer = counted._replace(
        answer=answer, finalists=lambda state, number: jnp.asarray([0, 3])[:number]
    )
    inner = proposer.init(KEY) | {"fitness": jnp.asarray([0.2, 0.0, 0.5, 0.3, 0.4])}
    best = jnp.zeros((2, 1), jnp.int32)
    found = BlackBoxState(inner, best, jnp.zeros(2)), {"evaluations": jnp.float32(9)}

    def evaluate(cells, place):  # member 3 is the best of the finalists here
        return 1.0 - cells[:, 0] / 10 + (jnp.float32(place) - 1.5)

    new, metrics = reevaluate_members(proposer, found, 4, evaluate)
    np.testing.assert_allclose(new.proposer["fitness"], [1.0, WORST, WORST, 0.7, WORST])
    assert metrics["final_fitness"] == pytest.approx(0.7)
    assert metrics["evaluations"] == 9 + 4 * 2
    same, metrics = reevaluate_members(proposer, found, 0, evaluate)
    assert same is found[0] and metrics["final_fitness"] == 0.0


@pytest.mark.slow
def test_the_final_batches_decide_where_the_answer_is_a_knee(searched):
    answers = [
        searched("nsga2", generations=8, final_batches=count)[2:] for count in (0, 3)
    ]
    (plain, first), (judged, second) = answers
    known = judged.proposer.objectives[:, 0] < WORST
    assert known.sum() == SMALL["nsga2"]["finalists"] and np.all(
        plain.proposer.objectives[:, 0] < WORST
    )
    assert second["candidate_images"] == first["candidate_images"] + 3 * 3 * 24
    assert second["final_fitness"] in judged.proposer.objectives[:, 0]


@pytest.mark.slow
def test_the_point_of_the_front_is_the_answer(searched, toy_net):
    strategy, _, state, _ = searched("nsga2", generations=8)
    front = jax.tree.map(np.asarray, strategy.front(state))
    other = nsga2(toy_net, NSGA2Config(**SMALL["nsga2"], point="best"))
    answers = strategy.incumbent(state), other.incumbent(state)
    knee, best = (np.asarray(mixing.primitives["normal"]) for mixing in answers)
    assert [mixing.edges["normal"].sum() for mixing in answers] == [8, 8]
    knee_of_front = front.mixings.primitives["normal"][front.knee]
    np.testing.assert_array_equal(knee, knee_of_front)
    assert not np.array_equal(knee, best)


def test_metrics_of_a_front_by_hand():
    objectives = jnp.asarray([[0.1, 4.0], [0.5, 1.0], [0.6, 5.0]])
    metrics = jax.jit(lambda values: front_metrics(values, 10.0))(objectives)
    assert metrics["front_size"] == 2
    assert (metrics["front_cost_min"], metrics["front_cost_max"]) == (1.0, 4.0)
    # to (1.1, 1.1): 0.6 wide from cost 0.1 up, and 0.4 more from cost 0.4 up
    expected = 0.6 * 1.0 + 0.4 * 0.7
    assert metrics["front_hypervolume"] == pytest.approx(expected, rel=1e-5)


def test_a_cell_without_a_fitness_on_one_batch_has_none():
    fitness = jnp.asarray([[0.2, WORST, WORST], [0.4, 0.1, WORST]])
    np.testing.assert_allclose(mean_fitness(fitness), [0.3, WORST, WORST], rtol=1e-6)


@pytest.fixture
def nsga2_parts(toy_net, monkeypatch):
    """What proposes the cells of NSGA-II, and its function that makes the front."""
    proposers = []

    def no_search_loop(net, config, cells, proposer):
        proposers.append(proposer)
        return Strategy("epoch", *[None] * 4, hyperparams=())

    monkeypatch.setattr(nsga2_module, "black_box", no_search_loop)
    strategy = nsga2(toy_net, NSGA2Config(**SMALL["nsga2"]))
    return proposers[0], strategy.front


def test_nsga2_drops_a_cell_whose_loss_is_no_number_however_small(nsga2_parts):
    proposer, make_front = nsga2_parts

    @jax.jit
    def select():
        state = proposer.init(KEY)
        smallest = jnp.argmin(state.objectives[:, 1])
        fitness = jnp.linspace(0.1, 0.6, 6).at[smallest].set(WORST)
        state = proposer.revalue(state, fitness)
        children = proposer.members(state)[:1]
        next_state = proposer.tell(state, children, jnp.asarray([0.05]))
        # one finalist, which alone was evaluated again
        last = proposer.revalue(state, jnp.full(6, WORST).at[0].set(0.3))
        front = make_front(BlackBoxState(last, None, None))
        finalists = proposer.finalists(state, 5)
        return smallest, finalists, next_state.objectives[:, 0], front

    smallest, finalists, surviving, front = select()
    assert smallest not in finalists
    assert (surviving < WORST).all()
    assert np.isfinite(front.objectives["loss"]).tolist() == [True] + [False] * 5
    assert front.is_member.tolist() == [True] + [False] * 5


@pytest.mark.longest
def test_nsga2_finds_a_front_that_random_cells_do_not_dominate(
    toy_net, toy_batch, variables
):
    """Both evaluate 336 cells."""
    sizes = dict(BLACK_BOX, fitness="accuracy")
    volumes = []
    # the first population is random, and has one generation behind it
    for population, offspring, generations in ((320, 16, 1), (16, 16, 20)):
        config = NSGA2Config(
            population=population,
            offspring=offspring,
            **{**sizes, "generations": generations},
        )
        strategy = nsga2(toy_net, config)
        trainee = Trainee(variables, None, 0.1)
        state = strategy.init(KEY, ())
        update = jax.jit(
            lambda state, strategy=strategy, trainee=trainee: strategy.update(
                *(KEY, state, (), trainee),
                train_batch=toy_batch,
                valid_batch=toy_batch,
                draw_batch=lambda key, place=None: toy_batch,
            )
        )
        volumes.append(float(update(state)[1]["front_hypervolume"]))
    assert volumes[1] > 1.02 * volumes[0]


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("ageing_evolution", {"tournament": 101}, "tournament is 101"),
        ("ageing_evolution", {"children": 101}, "children is 101"),
        ("ageing_evolution", {"mode": "serial"}, "two_phase, interleaved"),
        ("nsga2", {"population": 1}, "population is 1"),
        ("nsga2", {"cost": "latency"}, "params, multiply_adds"),
        ("nsga2", {"point": "7"}, "knee, best"),
        ("nsga2", {"crowding": "pymoo"}, "deb, nsga_net"),
        ("nsga2", {"parents": "chance"}, "rank, domination"),
        ("epcnas_pso", {"tie": "last"}, "first, fewer_params"),
        ("epcnas_pso", {"positions": "int"}, "real, whole"),
        ("epcnas_pso", {"particles": 1}, "particles is 1"),
        ("epcnas_pso", {"image_chunk": 4}, "image_chunk is 4"),
        ("enas", {"batches": "other"}, "own, shared"),
        ("enas", {"samples": 0}, "samples is 0"),
        ("nasnet_ppo", {"level": "token"}, "decision, sequence"),
        ("nasnet_ppo", {"clip": -0.1}, "clip is -0.1"),
    ],
)
def test_bad_settings_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        STRATEGIES[name][0](**settings)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_largest_call_is_stated(name):
    config = STRATEGIES[name][0](**SMALL[name])
    expected = {"nsga2": 4, "ageing_evolution": 4, "epcnas_pso": 6}
    assert config.individuals == expected.get(name, 5)
    assert dataclasses.replace(config).valid_batch_size == 24
