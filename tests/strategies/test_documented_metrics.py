"""The tables of docs/searching.md name the metrics of records, all and no others."""

import pathlib
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from small_methods import SMALL, TWO_NODES

from egnas_jax.search.loop import Measured, epoch_record
from egnas_jax.search.racing import Race
from egnas_jax.search.state import Totals
from egnas_jax.search.strategy import Trainee
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.population_statistics import QUANTILES
from egnas_jax.types import Evaluation

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "searching.md"
KEY = jax.random.key(0)
# what `run_epoch` and `search` add to the record of `epoch_record`
OF_THE_LOOP = {"eigenvalue", "early_stop", "digest", "seconds"}
# options by which a method reports more
RACE = dict(fitness_batches="auto", fitness_batch_size=2, race=Race(budget=5))
MORE = {"egnas": [RACE, {"weight_grid": True}]}


def rows():
    """(names in the first column, the other columns) of every row of metrics."""
    text = DOCUMENT.read_text()
    section = text[text.index("## Metrics") : text.index("## Stop")]
    for line in re.findall(r"^\| `.*\|$", section, re.M):
        first, *others = line.strip("|").split("|")
        yield {w for n in ticked(first) for w in expanded(n)}, others


def ticked(text):
    return re.findall(r"`(\w+)`", text)


def expanded(name):
    kinds = [name.replace("KIND", kind) for kind in TWO_NODES.kinds]
    return [n.replace("STATISTIC", q) for n in kinds for q in QUANTILES]


def documented(method=None):
    """Names that the tables give to a method, or to every record."""
    return {
        name
        for names, others in rows()
        if (method is None and len(others) == 2)
        or (len(others) == 3 and method in ticked(others[1]))
        for name in names
    }


def reported(name, net, variables, batch):
    """The names of all metrics that a method can report, traced and not compiled."""
    config_class, make = STRATEGIES[name]
    settings = [{}, *MORE.get(name, [])]
    if hasattr(config_class, "limit"):
        settings.append({"limit": Limit(params=3e6)})
    names = set()
    for more in settings:
        config = config_class(**SMALL[name] | more)
        strategy = make(net, config)
        part = jax.tree.map(lambda leaf, n=config.valid_batch_size: leaf[:n], batch)
        names |= set(
            jax.eval_shape(lambda *a, s=strategy: metrics_of(s, *a), variables, part)
        )
    return {re.sub(r"^\w+_by_generation$", "NAME_by_generation", n) for n in names}


def metrics_of(strategy, variables, batch):
    state = strategy.init(KEY, strategy.hyperparams)
    momentum = jax.tree.map(jnp.zeros_like, variables["params"])
    trainee = Trainee(variables, momentum, jnp.float32(0.1), jnp.int32(0), 1)
    batches = dict(train_batch=batch, valid_batch=batch)
    if strategy.draws_batches:
        batches["draw_batch"] = lambda key, place=None: batch
    state, info = strategy.update(KEY, state, strategy.hyperparams, trainee, **batches)
    return info | (strategy.metrics(state) if strategy.metrics else {})


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_table_names_what_a_method_reports(name, two_node_net, toy_batch):
    variables = two_node_net.init(KEY)
    assert documented(name) == reported(name, two_node_net, variables, toy_batch)


def test_the_table_names_what_every_record_holds(two_node_net):
    _, make = STRATEGIES["random_search"]
    strategy = make(two_node_net, STRATEGIES["random_search"][0]())
    run = SimpleNamespace(
        space=TWO_NODES,
        stage=SimpleNamespace(index=0, first=0),
        first_epoch=0,
        num_steps=1,
        problem=SimpleNamespace(strategy=strategy, valid_batch_size=1),
    )
    measured = Measured(
        epoch=0,
        learning_rate=0.1,
        totals=Totals(loss=1.0, correct=1, images=1),
        scores=Evaluation(loss=1.0, correct=1, accuracy=1.0),
        metrics={},
        mixing=strategy.incumbent(strategy.init(KEY, ())),
    )
    assert documented() == set(epoch_record(run, measured)) | OF_THE_LOOP
