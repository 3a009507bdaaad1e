"""Compares the configurations of runs, whose data and origins may have been moved."""

import dataclasses
from typing import Any

from egnas_jax.data.location import same_data
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.settings import differences


def changes(stored: Any, config: Any) -> list[str]:
    """The differences of two configurations, one line each.

    Paths do not count where digests prove that the contents are the same. Devices do
    not count where `shards` fixes what is computed.

    Args:
      stored, config: two searches or two retrainings.
    """
    if same_data(stored.data, config.data):
        place = {"name": stored.data.name, "path": stored.data.path}
        data = dataclasses.replace(config.data, **place)
        config = dataclasses.replace(config, data=data)
    if isinstance(config, RetrainConfig):
        config = _with_initial_weights_of(stored, config)
    elif stored.shards is not None and stored.shards == config.shards:
        config = dataclasses.replace(config, devices=stored.devices)
    return differences(stored, config)


def _with_initial_weights_of(
    stored: RetrainConfig, config: RetrainConfig
) -> RetrainConfig:
    """The configuration with the stored place of equal initial weights.

    A changed digest of an unchanged place is ignored: the other run may have been
    trained further, or be gone.
    """
    digest = stored.init_digest
    same = digest is not None and digest == config.init_digest
    place = stored.init_from if same else config.init_from
    return dataclasses.replace(config, init_from=place, init_digest=digest)
