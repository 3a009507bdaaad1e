"""Defines the cell space of NAS-Bench-201.

The graph is complete and has four nodes: the first one is the input, the last one the
output. The order of the five primitives is the benchmark's own.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020).
"""

from egnas_jax.space.base import Space

# A mutation changes any edge alike, or an edge of a uniform node, as the benchmark's
# own code does, so that the first node's only edge changes more often.
PLACES = ("uniform", "node_first")
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
NASBENCH201 = Space(
    name="nasbench201",
    primitives=("none", "skip_connect", *CONVOLUTIONS, "avg_pool_3x3"),
    num_nodes=3,
    num_inputs=1,
    derive="argmax",
    output="last",
    macro="nasbench201",
)
