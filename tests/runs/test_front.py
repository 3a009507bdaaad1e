"""The files of a Pareto front, and the points that `egnas derive` reads from them."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.runs.front import read_point, write_front
from egnas_jax.search.strategy import Front, Strategy
from egnas_jax.space import SPACES, Genotype
from egnas_jax.strategies.discrete.cells import cells_of

SPACE = SPACES["darts7"]


@pytest.fixture
def run(tmp_path):
    """Folder of a run whose front has three cells, one of them twice."""
    cells = cells_of(SPACE)
    cell = np.zeros((3, 2, 4, 2, 2), np.int32)
    cell[..., 1, 0] = 1  # the second source of each node
    cell[..., 1] = np.arange(3)[:, None, None, None]  # the primitive of each cell
    mixings = jax.jit(jax.vmap(cells.to_mixing))(cell[[0, 1, 1, 2, 0]])

    def front(state):
        return Front(
            mixings=mixings,
            objectives={
                "error": jnp.asarray([0.3, 0.1, 0.1, 0.2, 0.9]),
                "params": jnp.asarray([1.0, 3.0, 3.0, 1.5, 9.0]),
            },
            is_member=jnp.asarray([True, True, True, True, False]) & state,
            knee=jnp.int32(3),
        )

    strategy = Strategy("epoch", *[None] * 4, hyperparams=(), front=front)
    write_front(tmp_path, strategy, SPACE, jnp.asarray(False))
    assert not list(tmp_path.iterdir())  # nothing was searched yet
    write_front(tmp_path, strategy, SPACE, jnp.asarray(True))
    return tmp_path


def test_points_are_sorted_and_each_genotype_stands_once(run):
    content = json.loads((run / "front.json").read_text())
    assert content["objectives"] == ["error", "params"]
    points = content["points"]
    assert [entry["point"] for entry in points] == [0, 1, 2]
    found = [[entry["error"], entry["params"]] for entry in points]
    np.testing.assert_allclose(found, [[0.1, 3.0], [0.2, 1.5], [0.3, 1.0]])
    assert [entry["knee"] for entry in points] == [False, True, False]
    with (run / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["genotype"] for row in rows] == [e["genotype"] for e in points]
    assert "knee" in (run / "front.svg").read_text()


def test_derive_prints_the_point_that_is_asked_for(run, capsys):
    for point, number in (("knee", 1), ("0", 0), ("2", 2)):
        assert main(["derive", str(run), "--point", point]) == 0
        text = capsys.readouterr().out.strip()
        points = json.loads((run / "front.json").read_text())["points"]
        assert Genotype.parse(text).format() == points[number]["genotype"]


def test_points_that_are_not_there_are_refused(run, tmp_path, capsys):
    assert main(["derive", str(run), "--point", "3"]) == 2
    assert "must be knee or a number from 0 to 2" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"has no front\.json"):
        read_point(tmp_path / "other", "knee")


def test_a_file_without_points_is_refused(run, capsys):
    (run / "front.json").write_text("{}")
    assert main(["derive", str(run), "--point", "knee"]) == 2
    assert "front.json holds no points of a front" in capsys.readouterr().err
