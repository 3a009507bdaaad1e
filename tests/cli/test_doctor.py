"""`egnas doctor` says what works on this machine, and what to do about the rest."""

import importlib.metadata
import json
import os

import jax
import pytest

import egnas_jax as eg
from egnas_jax.cli import doctor_checks
from egnas_jax.cli.doctor_checks import Finding, examine
from egnas_jax.cli.main import main


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Puts an `nvidia-smi` on the path that lists two cards under a driver."""

    def install(driver):
        smi = tmp_path / "nvidia-smi"
        smi.write_text(
            f"#!/bin/sh\nfor i in 1 2; do echo 'H100, 80GB, {driver}'; done\n"
        )
        smi.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def installed(monkeypatch):
    """Lets packages have other versions; None: they are missing."""
    real = importlib.metadata.version

    def install(**versions):
        table = {name.replace("_", "-"): each for name, each in versions.items()}

        def version(name):
            if name not in table:
                return real(name)
            if table[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return table[name]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return install


def test_a_gpu_that_jax_leaves_out_is_bad_and_the_extra_is_named(
    card, installed, monkeypatch
):
    installed(jax_cuda12_plugin=None, jax_cuda13_plugin=None)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    for driver, extra in (("580.65", "cuda13"), ("550.54.15", "cuda12")):
        card(driver)
        finding = doctor_checks.devices()
        assert finding.state == "bad" and "2 NVIDIA GPU(s)" in finding.text
        assert "H100, 80GB" in finding.text
        assert finding.advice == f'pip install "egnas-jax[{extra}]"'
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS is 'cpu'. Unset it." in doctor_checks.devices().advice


@pytest.mark.parametrize(
    ("versions", "driver", "state", "said"),
    [
        ({}, None, "ok", "no plugin"),
        ({}, "580.65", "note", "no plugin"),
        ({"jax_cuda13_plugin": "9.9"}, "580.65", "ok", "driver 580.65"),
        ({"jax_cuda13_plugin": "9.9"}, "550.1", "bad", "driver 550.1"),
        ({"jax_cuda12_plugin": "9.9"}, "550.1", "ok", "driver 550.1"),
        ({"jax_cuda12_plugin": "9.8"}, "550.1", "bad", "jaxlib 9.9"),
        ({"jax_cuda12_plugin": "9.9"}, None, "note", "no driver of NVIDIA answers"),
    ],
)
def test_the_plugin_must_fit_jaxlib_and_the_driver(
    card, installed, monkeypatch, tmp_path, versions, driver, state, said
):
    none = {"jax_cuda12_plugin": None, "jax_cuda13_plugin": None}
    installed(**(none | versions), jaxlib="9.9")
    if driver is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        card(driver)
    finding = doctor_checks.plugin()
    assert (finding.state, said in finding.text) == (state, True)
    assert bool(finding.advice) == (state == "bad")


def test_the_cache_names_its_folder_and_size(tmp_path, monkeypatch):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "a").write_bytes(bytes(3 * 2**20))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        finding = doctor_checks.compile_cache()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert finding.state == "ok"
    assert f"{tmp_path}: 3 MiB in 1 file(s)" in finding.text


def test_data_are_looked_for_where_a_search_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "cifar10, cifar100, imagenet2012" in doctor_checks.data().text
    version = tmp_path / "tfds" / "cifar10" / "3.0.2"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text("{}")
    downloads = tmp_path / "cache" / "egnas_jax" / "data"
    downloads.mkdir(parents=True)
    (downloads / "cifar-100-binary.tar.gz").write_bytes(b"")
    finding = doctor_checks.data()
    assert f"cifar10 ({version})" in finding.text
    assert f"cifar100 ({downloads / 'cifar-100-binary.tar.gz'})" in finding.text
    assert finding.text.endswith(": imagenet2012") and finding.state == "note"


def test_the_launcher_says_which_gpus_a_process_gets(card, monkeypatch):
    slurm = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "n1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    }
    assert "one process" in doctor_checks.launcher().text
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    text = doctor_checks.launcher().text
    assert text.startswith("SLURM: process 1 of 2, on this node 1 of 2")
    assert text.endswith("it gets GPUs 2, 3 of 4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert doctor_checks.launcher().state == "bad"


def test_an_examination_that_fails_is_a_finding():
    def broken_thing():
        raise RuntimeError("no such wire")

    (finding,) = examine((broken_thing,))
    assert finding.state == "bad" and finding.name == "broken thing"
    assert "RuntimeError: no such wire" in finding.text


def test_something_bad_fails_the_command(monkeypatch, capsys):
    found = [Finding("a", "ok", "x"), Finding("b", "bad", "y z", "Do this.")]
    monkeypatch.setattr("egnas_jax.cli.doctor.examine", lambda checks: found)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok    a              x.", "BAD   b              y z. Do this."]
    assert main(["doctor", "--json"]) == 1
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["b"] == {"state": "bad", "text": "y z", "advice": "Do this."}


def test_this_machine_is_examined_without_the_search(capsys):
    assert main(["doctor", "--json", "--no-search"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"jax {jax.__version__}" in found["versions"]["text"]
    assert found["devices"]["text"].startswith(f"{jax.device_count()} of cpu")
    assert "GiB of the machine are free" in found["memory"]["text"]
    assert "tiny search" not in found


@pytest.mark.slow
def test_the_tiny_search_runs_and_leaves_no_space_behind(monkeypatch):
    finding = doctor_checks.tiny_search()
    assert finding.state == "ok" and "digest" in finding.text
    assert doctor_checks.SPACE not in eg.SPACES
    monkeypatch.setitem(doctor_checks.TINY, "epochs", 0)
    finding = doctor_checks.tiny_search()
    assert finding.state == "bad" and "epochs" in finding.text
    assert doctor_checks.SPACE not in eg.SPACES
