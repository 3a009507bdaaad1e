"""Stands for the context that a job of a campaign gets."""

from benchmarks.gpu.child import Settings


class Collector:
    """A context of a job that collects what is written."""

    flags, beside, halted = "", 0, 0

    def __init__(self, folder, platform="cpu"):
        self.settings = Settings(folder, None, None, platform)
        self.results = {}

    def take_card(self):
        """The card is always free."""

    def write(self, name, result):
        self.results[name] = result
