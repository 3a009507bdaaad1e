"""Compiles the weight steps of a training, which a later run reads from JAX's cache.

So a device that is shared is held for weight steps alone.
"""

import jax
import jax.numpy as jnp
from methods import Job

from egnas_jax.cli.console import say, use_compilation_cache
from egnas_jax.retrain import loop
from egnas_jax.runs.retrain import prepare
from egnas_jax.runs.retrain_config import with_genotype
from egnas_jax.runs.retrain_data import load_data
from egnas_jax.training.jax_settings import pinned


@pinned()
def compile_training(job: Job) -> None:
    """Compiles the program of a training; writes nothing to its directory."""
    use_compilation_cache()
    config = with_genotype(job.config, job.genotype, log=say)
    source, config = load_data(config, None, job.data_dir)
    run, _ = prepare(source, config, None, on_epoch=lambda record: None, log=say)
    rates, drop_paths = loop.step_schedules(run, 0, 1)
    loaded = run.pipeline.load(0, 1, config.steps_per_call)
    run.pipeline.close()  # what it began to read is read again
    program = run.programs.train
    program.func.lower(
        jax.eval_shape(run.programs.init),
        loaded,
        count=jnp.int32(1),
        learning_rates=rates,
        drop_paths=drop_paths,
        **program.keywords,
    ).compile()
