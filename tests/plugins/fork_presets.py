"""A second plug-in: a tiny preset, of searches and of retrainings, for a fork."""

import egnas_jax as eg

SEARCH = {
    "epochs": 3,
    "batch_size": 256,  # two weight steps an epoch
    "steps_per_call": 2,
    "supernet.space": "fork",
    "supernet.channels": 4,
    "supernet.layers": 1,
    "supernet.partial_channels": 1,
}
TRAIN = {"epochs": 1, "batch_size": 256, "network.channels": 4, "network.layers": 1}
eg.register_preset("fork_tiny", SEARCH)
eg.register_preset("fork_tiny", TRAIN, command="retrain")
