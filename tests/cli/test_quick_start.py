"""Commands that compute nothing answer without importing JAX."""

import subprocess
import sys

import pytest

# Any import of JAX or of Flax, which imports JAX, ends the process.
WITHOUT_JAX = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("jax", "jaxlib", "flax", "optax", "orbax"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
from egnas_jax.cli.main import main
sys.exit(main())
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "arguments, output",
    [
        (["--help"], "table-search"),
        (["search", "--help"], "--stop-after"),
        (["retrain", "--help"], "--genotype"),
        (["list"], "presets: digits, digits_large, cifar10, cifar100\n"),
        (
            ["list", "strategies"],
            "strategies: egnas, random_search, darts, pc_darts, p_darts, snas, "
            "enas, nasnet_ppo (NASNet-A-style (PPO) on the DARTS space), "
            "ageing_evolution, nsga2, "
            "epcnas_pso (EPCNAS-style PSO on the DARTS space)\n",
        ),
        (
            ["list", "methods"],
            "methods: egnas, random_search, local_search, ageing_evolution, "
            "reinforce, enas, nasnet_ppo, nsga2, epcnas_pso\n",
        ),
        (
            ["list", "lowerings"],
            "lowerings: auto, shifted, grouped, dense, matrix, fused\n",
        ),
        (["list", "variants"], "variants: paper, official, reproduction, revised\n"),
        (
            ["list", "proxies"],
            "proxies: params, multiply_adds, l2_norm, grad_norm, snip, grasp, "
            "synflow, fisher, jacov, naswot, zen\n",
        ),
    ],
)
def test_help_and_lists_do_not_import_jax(arguments, output):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert output in result.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "COMMAND"),
        (["serach"], "serach"),
        (["search", "--sed", "1"], "--sed"),
        (["list", "zo"], "Did you mean zoo?"),
        (["search", "--preset", "digit"], "Did you mean digits?"),
        (["search", "--strategy", "dart"], "Unknown strategy 'dart'"),
        (["search", "--variant", "papr"], "Unknown variant 'papr'"),
        (["search", "--space", "darts"], "Unknown space 'darts'"),
        (["retrain", "--preset", "cifar", "--genotype", "EGNAS"], "Unknown preset"),
        (["retrain", "--genotype", "nosuch"], "no published genotype"),
        (["evaluate", "no/run"], "'no/run' does not exist"),
        (["verify", __file__], "is no directory"),
        (["noise", "no/run"], "'no/run' does not exist"),
        (["export", "no/run", "--format", "onnx"], "'no/run' does not exist"),
        (["search", "--restore", "no/run"], "'no/run' does not exist"),
        (["retrain", "--genotype", "EGNAS", "--init-from", "no/run"], "does not exist"),
        (["data", "prepare", "--name", "cifar", "--out", "o"], "imagenet"),
        (["data", "prepare", "--out", "o"], "needs --data-dir"),
        (["rank-correlation", "no/run", "--table", "t.npz"], "'no/run' does not exist"),
    ],
)
def test_wrong_arguments_are_refused_without_importing_jax(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
