"""Stages of P-DARTS against its reference, and what a plan refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.nn.supernet_config import as_live
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.space import SPACES
from egnas_jax.space.mixing_arrays import live_masks
from egnas_jax.strategies.p_darts.config import PDARTSConfig
from egnas_jax.strategies.p_darts.rules import limit_skips, live_of
from egnas_jax.strategies.p_darts.strategy import LOST, p_darts

SPACE = SPACES["darts8"]
KEY = jax.random.key(0)
SUPERNET = SupernetConfig(space="darts8", layers=5)


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/p_darts")


def stage_strategy(config, live, **settings):
    """A stage of P-DARTS on a supernet that is never run."""
    net = Supernet(dataclasses.replace(SUPERNET, live=live), None, None)
    return p_darts(net, dataclasses.replace(config, **settings))


def state_with(strategy, live, alphas):
    """A state whose live alphas [2, E, J] are given."""
    state = strategy.init(KEY, strategy.hyperparams)
    alpha = {}
    for kind, mask, rows in zip(
        SPACE.kinds, live_masks(SPACE, live), alphas, strict=True
    ):
        full = np.full(mask.shape, LOST, np.float32)
        full[mask] = rows.ravel()
        alpha[kind] = jnp.asarray(full)
    return state.replace(alpha=alpha)


@pytest.mark.parametrize("case", range(0, 50, 5))
def test_stages_prune_and_derive_as_the_reference(case, golden):
    genotypes = json.loads(str(golden["genotype"]))[case]
    limits = json.loads(str(golden["normal_by_skip_limit"]))[case]
    plan, live = PDARTSConfig().plan(SUPERNET, 75), None
    for index, stage in enumerate(plan):
        strategy = stage_strategy(stage.strategy, live, max_skips=None)
        state = state_with(strategy, live, golden[f"alpha_stage{index}"][case])
        mixing = jax.tree.map(np.asarray, strategy.incumbent(state))
        if index == 1 and case == 0:
            rows = [mixing.primitives[kind] for kind in SPACE.kinds]
            np.testing.assert_allclose(
                rows, golden["rows_stage1_case0"], rtol=1e-6, atol=1e-7
            )
        if index < 2:
            live = strategy.prune(mixing)
            expected = golden[f"on_after_stage{index}"][case]
            np.testing.assert_array_equal(live_masks(SPACE, live), expected)
    derived = derive_incumbent(strategy, SPACE, mixing)
    for kind, pairs in zip(SPACE.kinds, genotypes, strict=True):
        assert getattr(derived, kind) == tuple(map(tuple, pairs))
    limited = derive_incumbent(stage_strategy(stage.strategy, live), SPACE, mixing)
    listed = [limits[str(n)] for n in range(8, 1, -1) if str(n) in limits]
    expected = tuple(map(tuple, listed[-1])) if listed else derived.normal
    assert limited.normal == expected
    assert limited.reduce == derived.reduce


def test_the_published_stages_are_the_defaults():
    plan = PDARTSConfig().plan(SUPERNET, 75)
    assert [stage.supernet.layers for stage in plan] == [5, 11, 17]
    assert [(stage.first, stage.epochs) for stage in plan] == [
        (0, 25),
        (25, 25),
        (50, 25),
    ]
    assert [stage.kept for stage in plan] == [5, 3, 1]
    rates = [stage.strategy.entries("skip_dropout")[0] for stage in plan]
    assert rates == [0.1, 0.4, 0.7]


def test_stages_share_the_epochs_or_have_their_own():
    def lengths(epochs, stage_epochs="equal"):
        plan = PDARTSConfig(stage_epochs=stage_epochs).plan(SUPERNET, epochs)
        return [(stage.first, stage.epochs) for stage in plan]

    assert lengths(50) == [(0, 17), (17, 17), (34, 16)]
    assert lengths(9, "2,3,4") == [(0, 2), (2, 3), (5, 4)]


@pytest.fixture(scope="module")
def run_update(toy_net, toy_batch, update_of):
    """(settings, live, epoch) -> net, first state and the one after an update."""

    def run(live=None, epoch=0, **settings):
        net = toy_net._replace(config=dataclasses.replace(toy_net.config, live=live))
        config = PDARTSConfig(**{"warmup": 0, "skip_dropout": "0,0,0", **settings})
        strategy = p_darts(net, config)
        state = strategy.init(KEY, strategy.hyperparams)
        variables = net.init(jax.random.key(1))
        new, _ = update_of(strategy)(KEY, state, variables, toy_batch, epoch=epoch)
        return state, new

    return run


def test_the_gradient_of_alpha_is_clipped_before_the_decay(
    run_update, toy_net, toy_batch
):
    """Adam's mean after one step is half of what reaches it."""
    state, new = run_update(clip_norm=1e-3, weight_decay=0.1)
    variables = toy_net.init(jax.random.key(1))

    @jax.jit
    def gradient(alpha):
        def network(alpha):
            return variables, softmax_mixing(alpha)

        return batch_gradients(toy_net, network, alpha, toy_batch)[0].gradient

    parts = gradient(state.alpha)
    norm = np.sqrt(sum(float(jnp.sum(part**2)) for part in parts.values()))
    assert norm > 2e-3
    mean = new.optimizer[1][0].mu
    for kind, part in parts.items():
        expected = 0.5 * (1e-3 / norm * part + 0.1 * state.alpha[kind])
        np.testing.assert_allclose(mean[kind], expected, rtol=1e-4, atol=1e-8)


def test_lost_primitives_stay_lost(run_update):
    live = as_live([[[0, 3]] * 14, [[1, 3]] * 14])
    state, new = run_update(live, learning_rate=0.1, weight_decay=1.0)
    for kind, mask in zip(SPACES["darts7"].kinds, (0, 1), strict=True):
        lost = [k for k in range(7) if k not in (mask, 3)]
        rows = softmax_mixing(new.alpha).primitives[kind]
        assert np.all(rows[:, lost] == 0)
        assert np.all(new.alpha[kind][:, lost] == LOST)
        moved = np.asarray(new.alpha[kind] != state.alpha[kind])
        assert moved[:, [mask, 3]].all()


def test_alpha_waits_for_the_end_of_the_warm_up(run_update):
    for epoch, moves in ((0, False), (2, True)):
        state, new = run_update(warmup=2, epoch=epoch, skip_dropout="0.4,0,0")
        same = jax.tree.map(np.array_equal, state.alpha, new.alpha)
        assert all(same.values()) is not moves
        # of one epoch: the line ends at 0, and after the warm-up it starts anew
        assert float(new.skip_dropout) == pytest.approx(0.4 if moves else 0.0)


def test_dropout_acts_in_the_step_of_alpha(run_update):
    _, whole = run_update()
    _, dropped = run_update(skip_dropout="0.5,0.5,0.5")
    means = [new.optimizer[1][0].mu["normal"] for new in (whole, dropped)]
    assert not np.allclose(*means, rtol=1e-3, atol=0)


def test_a_limit_below_what_an_edge_can_do_without_ends():
    """An edge that has a skip and `none` alone keeps its skip."""
    live = as_live([[[0, 3]] * 14] * 2)
    weights = np.full((14, 8), 0.5, np.float32)
    mask = live_masks(SPACE, live)[0]
    cell = limit_skips(SPACE, weights * mask, mask, 1, limit=2)
    assert len(cell.skips(SPACE)) == 8


def test_masks_and_live_primitives_are_inverse():
    masks = np.random.default_rng(0).random((2, 14, 8)) < 0.5
    masks[..., 1] = True
    np.testing.assert_array_equal(live_masks(SPACE, live_of(masks)), masks)
    assert live_masks(SPACE, None).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kept": "5,3"}, "added_layers is '0,6,12', for 3 stages, but strategy.kept"),
        ({"kept": "5,x,1"}, "kept is '5,x,1', but must be whole numbers separated"),
        ({"kept": "5,0,1"}, "kept is '5,0,1', but each entry must be from 1 to"),
        ({"skip_dropout": "0.1,1,0"}, "each entry must be from 0.0 to 0.99"),
        ({"stage_epochs": "5,0,5"}, "each entry must be from 1"),
        ({"valid_batches": "all"}, "must be one of permuted, drawn"),
        ({"clip_norm": 0.0}, "strategy.clip_norm is 0.0"),
        ({"max_skips": -1}, "strategy.max_skips is -1"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PDARTSConfig(**settings)


@pytest.mark.parametrize(
    "settings, epochs, message",
    [
        ({}, 2, "3 stages of p_darts need one epoch each .*, but epochs is 2"),
        ({"stage_epochs": "9,9,9"}, 25, "need 27 epochs .*'9,9,9'.*, but epochs is 25"),
        ({"stage_epochs": "5,5,5"}, 25, "need 15 epochs"),
        ({"kept": "8,3,1"}, 9, "must fall from below 8, the primitives of"),
        ({"kept": "5,5,1"}, 9, "kept is '5,5,1', but must fall"),
        ({"kept": "5,3,2"}, 9, "to 1 at last"),
        (
            {"added_layers": "0,-5,9"},
            9,
            "Stage 2 .* adds -5 layers .*layers is 0, but",
        ),
        ({"added_layers": "0,6,500"}, 9, "Stage 3 .*layers is 505, but must be from"),
        ({"added_channels": "0,1,0"}, 9, "Stage 2 .*channels is 17, but must be even"),
    ],
)
def test_a_plan_refuses_stages_that_cannot_be(settings, epochs, message):
    with pytest.raises(ValueError, match=message):
        PDARTSConfig(**settings).plan(SUPERNET, epochs)


def test_a_plan_needs_a_whole_space_of_the_darts_family():
    for supernet in (
        SupernetConfig(space="nasbench201", layers=5, partial_channels=1),
        dataclasses.replace(SUPERNET, live=as_live([[[0]] * 14] * 2)),
    ):
        with pytest.raises(ValueError, match="p_darts prunes the space"):
            PDARTSConfig().plan(supernet, 9)
