"""Configurations of runs are compared without the places of what digests prove."""

import dataclasses

from egnas_jax.runs.config_changes import changes
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.runs.search_config import search_config

DIGEST = "a" * 64


def with_data(config, **fields):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **fields))


def test_the_place_of_the_same_data_does_not_count():
    for config in (search_config(), retrain_config()):
        stored = with_data(config, path="/a/x.npz", digest=DIGEST)
        moved = with_data(config, path="/b/y.npz", digest=DIGEST)
        assert changes(stored, moved) == []
        other = with_data(config, path="/b/y.npz", digest="b" * 64)
        assert [line.partition(":")[0] for line in changes(stored, other)] == [
            "data.digest",
            "data.path",
        ]


def test_a_setting_of_the_data_counts_wherever_they_lie():
    stored = with_data(search_config(), path="/a/x.npz", digest=DIGEST)
    changed = with_data(stored, path="/b/x.npz", pad=2)
    assert changes(stored, changed) == ["data.pad: 1 -> 2"]


def test_the_place_of_equal_initial_weights_does_not_count():
    config = retrain_config(init_from="/a")

    def started(place, digest):
        return dataclasses.replace(config, init_from=place, init_digest=digest)

    assert changes(started("/a", DIGEST), started("/b", DIGEST)) == []
    for digests in ((DIGEST, "b" * 64), (None, DIGEST), (DIGEST, None), (None, None)):
        stored, moved = started("/a", digests[0]), started("/b", digests[1])
        assert changes(stored, moved) == ["init_from: '/a' -> '/b'"]
        # that run was trained further, or is gone: the one that goes on needs it not
        assert changes(stored, started("/a", digests[1])) == []
    assert changes(started("/a", DIGEST), started(None, None)) == [
        "init_from: '/a' -> None"
    ]


def test_devices_do_not_count_where_equal_shards_fix_what_is_computed():
    def search(**settings):
        return search_config(settings=settings)

    sharded = {"shards": 8}
    assert changes(search(devices=8, **sharded), search(devices=2, **sharded)) == []
    assert changes(search(devices=8), search(devices=2)) == ["devices: 8 -> 2"]
    assert changes(search(devices=8, **sharded), search(devices=2, shards=4)) == [
        "devices: 8 -> 2",
        "shards: 8 -> 4",
    ]
    assert changes(search(devices=8, **sharded), search(devices=8)) == [
        "shards: 8 -> None"
    ]
