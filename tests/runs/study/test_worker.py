"""`run_worker` before it claims anything."""

import numpy as np
import pytest

import egnas_jax as eg


@pytest.fixture
def study(tmp_path):
    """A study of a search and a retraining of one's own images; its plan is moved."""
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros((2, 8, 8, 1), np.uint8), labels=[0, 1])
    plan = {"search": {}, "retrain": {}, "settings": {"data.path": str(path)}}
    study = eg.write_study(plan, tmp_path / "study")
    path.rename(tmp_path / "elsewhere.npz")
    return study


def files(study):
    return sorted(path.name for path in study.folder.rglob("*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "This machine has no .*mine.npz, .* by --data-dir"),
        ({"data_dir": "no"}, "--data-dir no does not exist"),
        ({"data_dir": "."}, "holds no mine.npz"),
        ({"tries": 0}, "tries is 0"),
        ({"stale": 1.0}, "Set stale to at least 30"),
    ],
)
def test_nothing_is_claimed_where_no_unit_can_run(
    options, message, study, tmp_path, monkeypatch
):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = files(study)
    with pytest.raises(ValueError, match=message):
        eg.run_worker(study.folder, **options)
    assert files(study) == before


def test_nothing_is_claimed_where_the_folder_lacks_cifar(tmp_path):
    study = eg.write_study({"search": {"preset": "cifar10"}}, tmp_path / "study")
    before = files(study)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no cifar10"):
        eg.run_worker(study.folder, data_dir=tmp_path / "empty")
    assert files(study) == before


def test_a_directory_without_a_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no study"):
        eg.run_worker(tmp_path)
