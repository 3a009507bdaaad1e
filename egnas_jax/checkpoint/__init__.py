"""Checkpoints of one pytree: durable when saved, verified when restored."""

from egnas_jax.checkpoint.leaves import digest
from egnas_jax.checkpoint.store import (
    NoCheckpointError,
    Restored,
    restore,
    save,
    steps,
)

__all__ = ["NoCheckpointError", "Restored", "digest", "restore", "save", "steps"]
