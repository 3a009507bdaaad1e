"""P-DARTS: DARTS in stages of growing depth and fewer primitives."""
