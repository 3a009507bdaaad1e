"""Lists the presets of searches and of retrainings."""

from typing import Any

_DIGITS = dict(
    data=dict(name="digits", pad=1, flip=False),
    egnas=dict(warmup=1, population=16, samples=2, generations=2),
    random_search=dict(candidates=64),
    darts=dict(learning_rate=3e-3),
    pc_darts=dict(learning_rate=1e-2, batch_size=64, warmup=2),
    p_darts=dict(learning_rate=6e-3, batch_size=64, warmup=1, added_layers="0,1,2"),
    snas=dict(alpha_optimizer="adam", learning_rate=1e-2, temperature_epochs=12),
    enas=dict(learning_rate=0.03, steps=12, batch_size=64),
    nasnet_ppo=dict(learning_rate=1e-2, steps=6, batch_size=64),
    ageing_evolution=dict(population=32, tournament=8, generations=10, final_batches=2),
    nsga2=dict(population=24, offspring=24, generations=7, final_batches=2),
    epcnas_pso=dict(particles=16, generations=11, final_batches=2),
)
# Fitness is measured on as many images as a weight step takes (in the presets of CIFAR
# on half of them). Methods that count errors need more, or most cells are alike.
_FITNESS = {"egnas": 32, "random_search": 32}
_SMALL_BATCHES = _DIGITS | {
    name: _DIGITS[name] | dict(fitness_batch_size=size)
    for name, size in _FITNESS.items()
}
_SMALL_BATCHES |= {
    name: _DIGITS[name] | dict(fitness_batch_size=64, final_batches=12)
    for name in ("ageing_evolution", "nsga2", "epcnas_pso")
}
# Rates of alpha: rate times steps is that of the published search, which has smaller
# batches and so more steps. At the published rates of DARTS and P-DARTS, alpha would
# go a quarter of their way; PC-DARTS was published with these batches. SGD(3e-4), with
# which SNAS was published for 150 epochs of batches of 64, would leave alpha near its
# start, so SNAS has Adam at the rate of DARTS here, and its temperature is least in the
# last epoch. The stages of P-DARTS have 5, 11 and 17 cells, and its warm-up is the
# published share of a stage.
_FIFTY_EPOCHS = dict(
    darts=dict(learning_rate=1.2e-3),
    snas=dict(alpha_optimizer="adam", learning_rate=1.2e-3, temperature_epochs=50),
    p_darts=dict(learning_rate=2.5e-3, warmup=7, added_layers="-3,3,9"),
)
# Rate times steps is 5.3, as in the published search of DARTS (5.9). Of four rates with
# seeds 100 to 102 it had the least validation loss; docs/methods.md has the numbers.
_SMALL_BATCHES |= dict(darts=dict(learning_rate=2e-2))
# `digits` has fewer kernels to compile than `digits_large`, which was `digits` before.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": dict(
        **_SMALL_BATCHES,
        supernet=dict(channels=8, layers=3, partial_channels=2),
        # at twice this rate some searches under single children diverge
        run=dict(epochs=12, batch_size=32, learning_rate=0.05),
    ),
    "digits_large": dict(
        **_DIGITS,
        supernet=dict(channels=8, layers=5, partial_channels=2),
        run=dict(epochs=12, batch_size=64),
    ),
    "cifar10": dict(data=dict(name="cifar10", pad=4, flip=True), **_FIFTY_EPOCHS),
    "cifar100": dict(
        data=dict(name="cifar100", pad=4, flip=True),
        supernet=dict(num_classes=100),
        **_FIFTY_EPOCHS,
    ),
}

# Source: the DARTS family's train.py as EG-NAS uses it (cutout 16, drop path 0.3, 600
# epochs); ImageNet as PC-DARTS and EG-NAS use it: 1024 images on 8 cards, each with its
# own batch statistics, which `accumulate` reproduces on one card.
_CIFAR = dict(pad=4, flip=True, cutout=16)
DEFAULT_RECIPE = "digits"
RECIPES: dict[str, dict[str, Any]] = {
    "digits": dict(
        data=dict(name="digits", pad=1, flip=False),
        network=dict(channels=8, layers=5, auxiliary=False, drop_path=0.1),
        run=dict(epochs=30, batch_size=64, learning_rate=0.05),
    ),
    "cifar10": dict(data=dict(name="cifar10", **_CIFAR), network={}, run={}),
    "cifar100": dict(data=dict(name="cifar100", **_CIFAR), network={}, run={}),
    "imagenet": dict(
        data=dict(name="imagenet", pad=0, flip=True, colour_jitter=0.4),
        network=dict(channels=48, layers=14, drop_path=0.0, frame="imagenet"),
        run=dict(
            epochs=250,
            batch_size=1024,
            accumulate=8,
            learning_rate=0.5,
            schedule="linear",
            warmup=5,
            weight_decay=3e-5,
            label_smoothing=0.1,
            stream=True,
            image_size=224,
            steps_per_call=1,
        ),
    ),
}
