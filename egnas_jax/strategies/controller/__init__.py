"""An LSTM that learns to draw cells: ENAS, and PPO in the style of NASNet-A."""
