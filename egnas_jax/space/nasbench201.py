"""The cell space of NAS-Bench-201.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020): a complete graph of four nodes, the
first one the input, the last one the output; the order of the five primitives is the
benchmark's own.
"""

from egnas_jax.space.base import Space

NASBENCH201 = Space(
    name="nasbench201",
    primitives=(
        "none",
        "skip_connect",
        "nor_conv_1x1",
        "nor_conv_3x3",
        "avg_pool_3x3",
    ),
    kinds=("cell",),
    num_nodes=3,
    num_inputs=1,
    family="topology",
)
