"""Computes the digest of the source that results and compiled programs belong to."""

import hashlib
import pathlib


def source_digest() -> str:
    """Sha256 over the modules that the programs are made of."""
    root = pathlib.Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in ("egnas_jax", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
