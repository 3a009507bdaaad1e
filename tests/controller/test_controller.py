"""The LSTM controller, REINFORCE and PPO against numbers computed in torch."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.controller.cell_policy import CellShape, cell_policy
from egnas_jax.controller.edge_policy import edge_policy
from egnas_jax.controller.lstm import LSTMConfig, LSTMParams
from egnas_jax.controller.policy import factorised_policy
from egnas_jax.controller.ppo import (
    PPOBatch,
    PPOOptions,
    ppo_objective,
    ppo_update,
    ratios,
)
from egnas_jax.controller.reinforce import (
    ReinforceOptions,
    reinforce_loss,
    reinforce_update,
)
from egnas_jax.controller.training import AdamOptions, init_policy

SMALL = LSTMConfig(hidden=8)
# Sequences are written as (input, primitive, input, primitive), but decided as (input,
# input, primitive, primitive).
DECIDED = np.asarray([0, 2, 1, 3])


@pytest.fixture(scope="module")
def golden(load_golden):
    arrays = load_golden("systems/controller")
    return arrays | {"config": json.loads(str(arrays["config"]))}


def policy_of(golden, name):
    """The policy of one of the golden controllers."""
    sizes = golden["config"][name]
    config = LSTMConfig(
        hidden=sizes["hidden"],
        tanh_constant=sizes["tanh"],
        primitive_reduction=sizes["reduce"],
        fixed_bias=sizes["fixed_bias"],
    )
    shape = CellShape(
        num_kinds=2,
        num_nodes=sizes["nodes"],
        num_primitives=sizes["primitives"],
        convolutions=tuple(sizes["convolutions"]),
        distinct_inputs=sizes["distinct"],
    )
    return cell_policy(config, shape)


def params_of(golden, name):
    """Parameters of a golden controller, whose vectors have a leading axis there."""
    weights = {
        field: jnp.asarray(golden[f"{name}_p/{field}"], jnp.float32)
        for field in LSTMParams.__dataclass_fields__
    }
    for field in ("start", "bias", "attention_v"):
        weights[field] = weights[field].reshape(-1)
    return LSTMParams(**weights)


def decided(sequences):
    """Golden sequences [..., kind, node, 4] in the order of the decisions, [..., T]."""
    ordered = np.asarray(sequences, np.int32)[..., DECIDED]
    return jnp.asarray(ordered.reshape(*ordered.shape[:-3], -1))


def flat(golden, tree):
    order = golden["config"]["darts7"]["flat_order"]
    return np.concatenate([np.ravel(getattr(tree, name)) for name, _ in order])


def scores_of(policy, params, choices):
    return jax.jit(jax.vmap(policy.score, in_axes=(None, 0)))(params, choices)


@pytest.mark.parametrize("name", ["enas", "darts7"])
def test_log_probabilities_and_entropies_are_those_of_torch(golden, name):
    choices = decided(golden[f"{name}_sequences"])
    scores = scores_of(policy_of(golden, name), params_of(golden, name), choices)
    close = dict(rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores.log_prob, golden[f"{name}_log_prob"], **close)
    np.testing.assert_allclose(scores.entropy, golden[f"{name}_entropy"], **close)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("place", ["tf", "optax"])
def test_updates_of_reinforce_are_those_of_torch(golden, place):
    numbers = golden["config"]["reinforce"]
    policy = policy_of(golden, "darts7")
    options = ReinforceOptions(
        adam=AdamOptions(
            learning_rate=numbers["learning_rate"],
            beta1=numbers["beta1"],
            beta2=numbers["beta2"],
            eps=numbers["eps"],
            tensorflow_eps=place == "tf",
        ),
        baseline_decay=numbers["baseline_decay"],
        entropy_weight=numbers["entropy_weight"],
    )
    state = init_policy(jax.random.key(0), policy)
    state = state.replace(params=params_of(golden, "darts7"))
    update = jax.jit(lambda *args: reinforce_update(policy, options, *args))
    for step, accuracy in enumerate(golden["reinforce_accuracy"]):
        choices = decided(golden["reinforce_sequences"][step])
        state, steps = update(state, choices, jnp.float32(accuracy))
        rewards, baselines = golden["reinforce_reward"], golden["reinforce_baseline"]
        if place == "tf":  # later rewards hold entropies of its own parameters
            np.testing.assert_allclose(steps.reward, rewards[step], atol=1e-6)
            np.testing.assert_allclose(steps.baseline, baselines[step], atol=1e-6)
        after = golden[f"reinforce_after_{place}"][step]
        np.testing.assert_allclose(flat(golden, state.params), after, atol=1e-5)


@pytest.mark.slow
def test_the_gradient_of_reinforce_is_that_of_torch(golden):
    policy, params = policy_of(golden, "darts7"), params_of(golden, "darts7")
    advantage = golden["reinforce_reward"][0] - golden["reinforce_baseline"][0]
    choices = decided(golden["reinforce_sequences"][0])

    def loss(params):
        return reinforce_loss(policy, params, choices, jnp.float32(advantage))

    gradient = flat(golden, jax.jit(jax.grad(loss))(params))
    expected = golden["reinforce_gradient"][0]
    assert np.abs(gradient - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["decision", "sequence"])
def test_the_clipped_surrogate_and_its_gradient_are_those_of_torch(golden, level):
    numbers = golden["config"]["ppo"]
    policy = policy_of(golden, "darts7")
    choices = decided(golden["ppo_sequences"])
    old = scores_of(policy, params_of(golden, "darts7"), choices).log_prob
    close = dict(rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(old, golden["ppo_old_log_prob"], **close)
    options = PPOOptions(
        adam=AdamOptions(3.5e-4),
        clip=numbers["clip"],
        entropy_weight=numbers["entropy_weight"],
        level=level,
    )
    advantage = jnp.float32(golden["ppo_reward"] - numbers["baseline"])
    batch = PPOBatch(choices, old, advantage)
    params = params_of(golden, "ppo")
    new = scores_of(policy, params, choices).log_prob
    ratio = ratios(level, new, old)
    np.testing.assert_allclose(ratio, golden[f"ppo_ratio_{level}"], **close)
    objective = jax.jit(
        jax.value_and_grad(lambda params: ppo_objective(policy, options, params, batch))
    )
    value, gradient = objective(params)
    np.testing.assert_allclose(value, golden[f"ppo_objective_{level}"], **close)
    expected = -golden[f"ppo_gradient_{level}"]
    gap = np.abs(flat(golden, gradient) - expected).max()
    assert gap < 1e-4 * np.abs(expected).max()


@pytest.fixture(scope="module")
def small():
    shape = CellShape(num_kinds=2, num_nodes=3, num_primitives=4, convolutions=(1,))
    policy = cell_policy(SMALL, shape)
    params = policy.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2000)
    return policy, params, jax.jit(jax.vmap(lambda k: policy.sample(k, params)))(keys)


@pytest.mark.slow
def test_samples_are_cells_with_two_different_inputs(small):
    _, _, samples = small
    cells = np.asarray(samples).reshape(-1, 2, 3, 4)
    inputs, primitives = cells[..., :2], cells[..., 2:]
    assert (inputs[..., 0] != inputs[..., 1]).all()
    for node in range(3):
        assert set(np.unique(inputs[:, :, node])) == set(range(2 + node))
    assert set(np.unique(primitives)) == set(range(4))


@pytest.mark.slow
def test_samples_are_as_frequent_as_their_probability(small):
    policy, params, samples = small
    # Frequencies of the first node's first three decisions against the probabilities
    # that the scores give them; the others are conditioned on these.
    scores = scores_of(policy, params, samples)
    probability = np.exp(np.asarray(scores.log_prob)[:, :3].sum(axis=1))
    starts = np.asarray(samples)[:, :3]
    for start in np.unique(starts, axis=0):
        chosen = (starts == start).all(axis=1)
        expected = probability[chosen].mean()
        deviation = np.sqrt(expected * (1 - expected) / len(starts))
        assert abs(chosen.mean() - expected) < 4 * deviation


@pytest.mark.slow
def test_the_fixed_bias_prefers_convolutions_in_the_first_kind_alone(small):
    _, _, samples = small
    primitives = np.asarray(samples).reshape(-1, 2, 3, 4)[..., 2:]
    share = (primitives == 1).mean(axis=(0, 2, 3))
    # e^0.44 over e^0.44 + 3 is 0.34; with 0.25 against -0.25 it is 0.46
    np.testing.assert_allclose(share, [0.461, 0.341], atol=0.02)


@pytest.mark.parametrize(
    "policy",
    [factorised_policy(3, 4), pytest.param(edge_policy(SMALL, 3, 4), marks=SLOW)],
    ids=["free", "lstm"],
)
def test_both_gradients_find_a_rewarded_sequence(policy):
    reinforce = ReinforceOptions(AdamOptions(0.05), 0.9, corrected_baseline=True)
    ppo = PPOOptions(AdamOptions(0.05))
    target = jnp.asarray([3, 0, 2])

    def trained(update, options):
        def step(state, key):
            keys = jax.random.split(key, 16)
            sampled = jax.vmap(lambda k: policy.sample(k, state.params))(keys)
            reward = jnp.mean((sampled == target[None]).astype(jnp.float32), axis=1)
            return update(policy, options, state, sampled, reward)[0], jnp.mean(reward)

        start = init_policy(jax.random.key(0), policy)
        keys = jax.random.split(jax.random.key(1), 60)
        return jax.lax.scan(step, start, keys)[1]

    limit = 0.35  # chance is 0.25; the logits of the LSTM lie within 0.44
    for update, options in ((reinforce_update, reinforce), (ppo_update, ppo)):
        rewards = jax.jit(lambda u=update, o=options: trained(u, o))()
        assert rewards[:3].mean() < 0.33
        assert rewards[-10:].mean() > limit


@pytest.mark.slow
def test_the_first_advantage_of_a_corrected_baseline_is_zero():
    policy = factorised_policy(2, 3)
    options = ReinforceOptions(AdamOptions(0.1), 0.9, corrected_baseline=True)
    state = init_policy(jax.random.key(0), policy)
    choices = jnp.zeros((1, 2), jnp.int32)
    new, steps = reinforce_update(policy, options, state, choices, jnp.asarray([50.0]))
    assert steps.baseline[0] == pytest.approx(50.0)
    np.testing.assert_array_equal(new.params, state.params)
    _, steps = reinforce_update(policy, options, new, choices, jnp.asarray([60.0]))
    # (0.9 * 0.1 * 50 + 0.1 * 60) / (1 - 0.9^2)
    assert steps.baseline[0] == pytest.approx(10.5 / 0.19, rel=1e-5)
