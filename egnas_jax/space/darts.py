"""Defines the cell spaces of the DARTS family.

Sources: DARTS (Liu et al., ICLR 2019) for the eight primitives and their order;
EG-NAS (Cai et al., AAAI 2024) for the seven, which leave `none` out.
"""

from egnas_jax.space.base import Space

CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
DARTS7 = Space(
    name="darts7",
    primitives=("avg_pool_3x3", "max_pool_3x3", "skip_connect", *CONVOLUTIONS),
)
DARTS8 = Space(
    name="darts8",
    primitives=("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", *CONVOLUTIONS),
)
