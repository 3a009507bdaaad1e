"""Defines the spaces S1 to S4 of RobustDARTS, in which DARTS derives poor cells.

S1 has two primitives an edge, found by searches in the space of DARTS. S2 has the same
two on every edge. S3 adds `none` to them. S4 has `noise`, standard normal numbers in
the place of the state, beside a convolution.

Source: RobustDARTS (Zela et al., ICLR 2020), section 3; the sets of S1 as the spaces
of its reference list them.
"""

from egnas_jax.space.base import Space

MAX, AVG, SKIP = "max_pool_3x3", "avg_pool_3x3", "skip_connect"
SEP, DIL3, DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"

S1_NORMAL = {
    (0, 2): (SKIP, DIL3),
    (1, 2): (SKIP, DIL5),
    (0, 3): (SKIP, DIL5),
    (1, 3): (SKIP, SEP),
    (2, 3): (SKIP, DIL3),
    (0, 4): (MAX, SKIP),
    (1, 4): (SKIP, SEP),
    (2, 4): (SKIP, SEP),
    (3, 4): (SKIP, DIL3),
    (0, 5): (SKIP, SEP),
    (1, 5): (MAX, SKIP),
    (2, 5): (SKIP, DIL3),
    (3, 5): (DIL3, DIL5),
    (4, 5): (DIL3, DIL5),
}
S1_REDUCE = {
    (0, 2): (MAX, AVG),
    (1, 2): (MAX, DIL3),
    (0, 3): (MAX, AVG),
    (1, 3): (MAX, AVG),
    (2, 3): (SKIP, DIL5),
    (0, 4): (MAX, AVG),
    (1, 4): (MAX, SEP),
    (2, 4): (SKIP, DIL3),
    (3, 4): (SKIP, DIL5),
    (0, 5): (MAX, AVG),
    (1, 5): (MAX, AVG),
    (2, 5): (SKIP, DIL5),
    (3, 5): (SKIP, DIL5),
    (4, 5): (SKIP, DIL5),
}
S1 = Space("robust_s1", {"normal": S1_NORMAL, "reduce": S1_REDUCE})
S2 = Space("robust_s2", (SKIP, SEP))
S3 = Space("robust_s3", ("none", SKIP, SEP))
S4 = Space("robust_s4", ("noise", SEP))
