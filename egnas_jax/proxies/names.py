"""Names the proxies, for commands that do not wait for JAX."""

NAMES = (
    "params",
    "multiply_adds",
    "l2_norm",
    "grad_norm",
    "snip",
    "grasp",
    "synflow",
    "fisher",
    "jacov",
    "naswot",
    "zen",
)
