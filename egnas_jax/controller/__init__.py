"""Holds policies over sequences of choices, and the gradients that train them."""
