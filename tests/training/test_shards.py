"""Shards are checked against devices and batches before anything is computed."""

import pytest

from egnas_jax.cli.main import main
from egnas_jax.training.shards import Division, check_divisible, divide, rows_per_part


def test_devices_are_those_that_divide_the_shards():
    assert divide(None, 3) == Division(None, 3)  # on one device
    with pytest.raises(ValueError, match="JAX sees 1"):
        divide(2, 4)


def test_a_batch_that_has_no_equal_shards_is_refused():
    check_divisible(256, Division())
    check_divisible(256, Division(None, 8))
    with pytest.raises(ValueError, match="multiple of the 3 shards. .* to 258"):
        check_divisible(256, Division(None, 3))


def test_rows_are_divided_among_shards_and_not_among_devices():
    assert rows_per_part(11, Division()) == 11
    assert rows_per_part(11, Division(None, 4)) == 3


@pytest.mark.parametrize(
    ("shards", "hint"),
    [
        ("0", "shards is 0, but must be from 1"),
        ("auto", "shards takes a whole number"),
        ("7", "must be a multiple of the 7 shards. Set batch_size to"),
    ],
)
def test_a_search_with_unusable_shards_ends_with_2(shards, hint, tmp_path, capsys):
    command = ["search", "--preset", "digits", "--out", str(tmp_path / "run")]
    assert main([*command, "--set", f"shards={shards}"]) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
