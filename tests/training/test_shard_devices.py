"""The tests of shards_on_eight_devices.py, in a process with eight devices."""

import pathlib

import eight_devices
import pytest

pytestmark = pytest.mark.longest

FILE = pathlib.Path(__file__).with_name("shards_on_eight_devices.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return eight_devices.run(FILE, tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("name", eight_devices.names(FILE))
def test_shards_on_eight_devices(name, outcomes):
    assert outcomes[name] == [], "\n".join(outcomes[name])
