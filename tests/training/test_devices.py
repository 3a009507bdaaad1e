"""The tests of on_eight_devices.py, each by its name, in a process with eight devices.

The number of simulated devices is fixed when JAX starts.
"""

import pathlib

import eight_devices
import pytest

pytestmark = pytest.mark.longest

FILE = pathlib.Path(__file__).with_name("on_eight_devices.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return eight_devices.run(FILE, tmp_path_factory.mktemp("mesh"))


@pytest.mark.parametrize("name", eight_devices.names(FILE))
def test_on_eight_devices(name, outcomes):
    assert outcomes[name] == [], "\n".join(outcomes[name])
