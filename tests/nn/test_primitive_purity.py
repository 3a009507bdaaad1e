"""Primitives that draw unseen numbers or mix images are refused with their line."""

import random
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from own_primitives import CONV_NORM, SQUEEZE_EXCITE

from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_check import check_primitive
from egnas_jax.nn.primitive_linen import primitive_from_linen
from egnas_jax.nn.primitive_purity import check_purity
from egnas_jax.nn.primitives import PRIMITIVES

CHANNELS = 4


def init_nothing(key, channels, stride):
    return {}, {}


def halved(x, stride):
    return x[:, ::stride, ::stride]


def noise_array(params, batch_stats, x, stride, train):
    noise = np.random.normal(size=(1, 1, 1, x.shape[-1])).astype(np.float32)
    return halved(x * noise, stride), batch_stats


def noise_number(params, batch_stats, x, stride, train):
    return halved(x * random.random(), stride), batch_stats


def random_shift(params, batch_stats, x, stride, train):
    return halved(jnp.roll(x, time.perf_counter_ns(), axis=1), stride), batch_stats


def noise_in_a_loop(params, batch_stats, x, stride, train):
    if not train:
        return halved(x, stride), batch_stats
    y, _ = jax.lax.scan(lambda x, _: (x + np.random.normal(), None), x, length=2)
    return halved(y, stride), batch_stats


def init_noise(key, channels, stride):
    return {"w": jnp.asarray(np.random.normal(size=channels), jnp.float32)}, {}


def keep(params, batch_stats, x, stride, train):
    return halved(x, stride), batch_stats


def fixed_noise(params, batch_stats, x, stride, train):
    noise = np.random.default_rng(0).normal(size=(1, 1, 1, x.shape[-1]))
    return halved(x * noise.astype(np.float32), stride), batch_stats


def place_of(function):
    return f"{__file__}:{function.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    "init, apply, wrong",
    [
        (init_nothing, noise_array, "apply"),
        (init_nothing, noise_number, "apply"),
        (init_nothing, random_shift, "apply"),
        (init_nothing, noise_in_a_loop, "apply"),
        (init_noise, keep, "init"),
    ],
)
def test_numbers_that_tracing_would_freeze_are_refused(init, apply, wrong):
    place = place_of({"init": init, "apply": apply}[wrong])
    message = f"The primitive p ({place}): two traces of {wrong} give different"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_purity(Primitive("p", init, apply), CHANNELS)


def centred(params, batch_stats, x, stride, train):
    return halved(x - x.mean((0, 1, 2), keepdims=True), stride), batch_stats


def centred_in_training(params, batch_stats, x, stride, train):
    y = x - x.mean((0, 1, 2), keepdims=True) if train else x
    return halved(y, stride), batch_stats


def init_gate(key, channels, stride):
    return {"gate": jnp.zeros(())}, {}


def gated(params, batch_stats, x, stride, train):
    """Mixes images as soon as a weight that is 0 at first is trained."""
    y = x + params["gate"] * x[::-1]
    return halved(y, stride), batch_stats


def keyed(params, batch_stats, x, stride, train, *, key):
    return halved(x * jax.random.normal(key, x.shape), stride), batch_stats


@pytest.mark.parametrize(
    "init, apply, mode",
    [
        (init_nothing, centred, "train=False"),
        (init_nothing, centred_in_training, "train=True"),
        (init_gate, gated, "train=False"),
    ],
)
def test_a_primitive_that_mixes_images_is_refused(init, apply, mode):
    primitive = Primitive("p", init, apply)
    check_primitive(primitive, CHANNELS)  # tracing does not see it
    message = f"p ({place_of(apply)}): apply({mode}) mixes the images of a batch"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_purity(primitive, CHANNELS)


class DropOut(nn.Module):
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        x = x[:, :: self.stride, :: self.stride]
        return nn.Dropout(0.5, deterministic=not train)(x)


DROPS = primitive_from_linen("drops", DropOut, draws=True)


@pytest.mark.parametrize(
    "primitive",
    [
        CONV_NORM,
        SQUEEZE_EXCITE,
        Primitive("p", init_nothing, fixed_noise),
        Primitive("p", init_nothing, keyed, draws=True),
        DROPS,
        PRIMITIVES["sep_conv_3x3"],
    ],
)
def test_functions_of_one_image_pass_and_statistics_are_of_training(primitive):
    check_purity(primitive, CHANNELS)


def test_primitives_are_checked_while_a_function_is_traced():
    primitive = Primitive("p", init_nothing, centred)

    def check(x):
        check_purity(primitive, CHANNELS)
        return x

    with pytest.raises(ValueError, match="mixes the images"):
        jax.jit(check)(1.0)


def test_a_module_that_draws_needs_to_say_so():
    silent = primitive_from_linen("drops", DropOut)
    message = r"InvalidRngError: .* needs eg.primitive_from_linen\(..., draws=True\)"
    with pytest.raises(ValueError, match=message):
        check_primitive(silent, CHANNELS)
    check_primitive(DROPS, CHANNELS)


def test_a_module_draws_by_the_key_that_it_is_given():
    x = jnp.ones((2, 8, 8, CHANNELS))

    def outputs(seed, train):
        return DROPS.apply({}, {}, x, 1, train, key=jax.random.key(seed))[0]

    first = outputs(0, True)
    assert set(np.unique(first)) == {0.0, 2.0}
    np.testing.assert_array_equal(first, outputs(0, True))
    assert not np.array_equal(first, outputs(1, True))
    np.testing.assert_array_equal(outputs(0, False), x)
