"""The torch side: the same tasks as `jax_side`, in a loop over individuals.

Every function takes the problem's tensors in the memory format that its settings name
and returns what is compared and the seconds it took.
"""

import time

import torch
from torch.nn import functional

from benchmarks import problem as given
from benchmarks.problem import Problem
from benchmarks.torch_net import SearchNetwork


class TorchSide:
    """A search network, its optimizer and the problem's tensors, in one process."""

    def __init__(self, problem: Problem, *, channels_last: bool, threads: int):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.problem = problem
        self.net = SearchNetwork(problem.config)
        if problem.weights:
            state = {n: torch.as_tensor(w) for n, w in problem.weights.items()}
            self.net.load_state_dict(state)
        self.net = self.net.to(memory_format=self.format)
        images = torch.as_tensor(problem.images).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=self.format)
        self.labels = torch.as_tensor(problem.labels)
        self.mixings = {k: torch.as_tensor(m) for k, m in problem.mixings.items()}
        self.sgd = torch.optim.SGD(
            self.net.parameters(),
            given.LEARNING_RATE,
            momentum=given.MOMENTUM,
            weight_decay=given.WEIGHT_DECAY,
        )

    def mixing(self, index: int):
        return {kind: rows[index] for kind, rows in self.mixings.items()}

    def weights(self):
        """After two forwards in training mode, so that statistics are not trivial."""
        self.net.train()
        with torch.no_grad():
            for index in (0, 1):
                self.net(self.images, self.mixing(index))
        return {n: leaf.numpy() for n, leaf in self.net.state_dict().items()}

    def population(self, *, individuals, batch_stats: str, chunk: int):
        """Loss and correct answers of individuals on the fitness batch.

        With batch statistics the network is in training mode, as torch takes them only
        there; its running statistics move and are put back, outside the clock.
        """
        kept = {n: leaf.clone() for n, leaf in self.net.state_dict().items()}
        self.net.train(batch_stats == "batch")
        images, labels = self.images[: given.IMAGES], self.labels[: given.IMAGES]
        chunk = given.IMAGES if batch_stats == "batch" else chunk
        with torch.inference_mode():
            self.net(images, self.mixing(individuals[0]))
            losses, correct = [], []
            started = time.perf_counter()
            for index in individuals:
                loss = hits = 0.0
                for part, truth in zip(
                    images.split(chunk), labels.split(chunk), strict=True
                ):
                    logits = self.net(part, self.mixing(index))
                    loss += functional.cross_entropy(
                        logits, truth, reduction="sum"
                    ).item()
                    hits += (logits.argmax(1) == truth).sum().item()
                losses.append(loss / given.IMAGES)
                correct.append(hits)
        seconds = time.perf_counter() - started
        self.net.load_state_dict(kept)
        return {"seconds": seconds, "loss": losses, "correct": correct}

    def weight_step(self, *, steps: int):
        """SGD steps on all images; weights move on from call to call."""
        self.net.train()
        losses, started = [], time.perf_counter()
        for _ in range(steps):
            self.sgd.zero_grad(set_to_none=True)
            logits = self.net(self.images, self.mixing(0))
            loss = functional.cross_entropy(logits, self.labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), given.CLIP)
            self.sgd.step()
            losses.append(loss.item())
        seconds = (time.perf_counter() - started) / steps
        return {"seconds": seconds, "loss": losses}
