"""Runs the torch side of the benchmark: the tasks of `jax_side` in a loop.

Every task returns the results that are compared and the seconds it took. On a GPU cuDNN
benchmarks its algorithms, float32 products run in TF32, and `amp` computes in bfloat16
where torch's autocast does.
"""

import time

import torch
from torch.nn import functional

from benchmarks.problem import (
    CLIP,
    IMAGES,
    LEARNING_RATE,
    MOMENTUM,
    WEIGHT_DECAY,
    Problem,
)
from benchmarks.torch_derived import DerivedNetwork
from benchmarks.torch_net import SearchNetwork
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import Genotype


def set_up(device: str, threads: int) -> None:
    """Sets torch's options for speed.

    Raises:
      RuntimeError: `device` is "cuda" and torch sees no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} sees no GPU")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True


def clock(device: str) -> float:
    """Time in seconds, after the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class TorchSide:
    """A search network, its optimizer and the tensors of the problem."""

    def __init__(
        self,
        problem: Problem,
        *,
        channels_last: bool,
        threads: int,
        device: str = "cpu",
        amp: bool = False,
    ):
        set_up(device, threads)
        self.device, self.amp = device, amp
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.problem = problem
        self.net = SearchNetwork(problem.config)
        if problem.weights:
            state = {n: torch.as_tensor(w) for n, w in problem.weights.items()}
            self.net.load_state_dict(state)
        self.net = self.net.to(device, memory_format=self.format)
        images = torch.as_tensor(problem.images).permute(0, 3, 1, 2)
        self.images = images.to(device).contiguous(memory_format=self.format)
        self.labels = torch.as_tensor(problem.labels).to(device)
        self.mixings = {
            kind: torch.as_tensor(rows).to(device)
            for kind, rows in problem.mixings.items()
        }
        self.sgd = torch.optim.SGD(
            self.net.parameters(),
            LEARNING_RATE,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
        )

    def mixing(self, index: int):
        """Weights of one individual: cell kind -> [E, K]."""
        return {kind: rows[index] for kind, rows in self.mixings.items()}

    def _logits(self, images, mixing):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.amp):
            return self.net(images, mixing)

    def weights(self):
        """Weights after two forward passes in training mode, which set statistics."""
        self.net.train()
        with torch.no_grad():
            for index in (0, 1):
                self.net(self.images, self.mixing(index))
        return {n: leaf.cpu().numpy() for n, leaf in self.net.state_dict().items()}

    def population(
        self, *, individuals, batch_stats: str, chunk: int, images: int = IMAGES
    ):
        """Evaluates individuals on the fitness batch.

        With batch statistics the network is in training mode, since torch uses them
        only there. Its running statistics change and are restored, untimed.
        """
        saved = {n: leaf.clone() for n, leaf in self.net.state_dict().items()}
        self.net.train(batch_stats == "batch")
        chunk = images if batch_stats == "batch" else chunk
        count, images, labels = images, self.images[:images], self.labels[:images]
        with torch.inference_mode():
            self._logits(images, self.mixing(individuals[0]))
            losses, correct = [], []
            started = clock(self.device)
            for index in individuals:
                loss = hits = 0.0
                for part, truth in zip(
                    images.split(chunk), labels.split(chunk), strict=True
                ):
                    logits = self._logits(part, self.mixing(index)).float()
                    loss += functional.cross_entropy(logits, truth, reduction="sum")
                    hits += (logits.argmax(1) == truth).sum()
                losses.append(loss / count)
                correct.append(hits)
            # Read once at the end, so that a GPU does not wait for the host.
            losses = torch.stack(losses).tolist()
            correct = torch.stack(correct).tolist()
        seconds = clock(self.device) - started
        self.net.load_state_dict(saved)
        return {"seconds": seconds, "loss": losses, "correct": correct}

    def weight_step(self, *, steps: int):
        """Times SGD steps on all images; weights change from call to call."""
        self.net.train()
        losses, started = [], clock(self.device)
        for _ in range(steps):
            self.sgd.zero_grad(set_to_none=True)
            logits = self._logits(self.images, self.mixing(0)).float()
            loss = functional.cross_entropy(logits, self.labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
            self.sgd.step()
            losses.append(loss.detach())
        losses = torch.stack(losses).tolist()
        seconds = (clock(self.device) - started) / steps
        return {"seconds": seconds, "loss": losses}

    def retrain_step(
        self, *, genotype: str, network: dict, batch: int, steps: int, repeats: int
    ):
        """Times steps of retraining on random images.

        Args:
          genotype: text of the genotype.
          network: fields of `NetworkConfig`.
          batch: images of a step.
          steps: timed together; two untimed ones come first.
          repeats: how often they are timed.

        Returns:
          Seconds per step of every repeat, and the loss of the last step.
        """
        config = NetworkConfig(**network)
        net = DerivedNetwork(Genotype.parse(genotype), config)
        net = net.to(self.device, memory_format=self.format).train()
        sgd = torch.optim.SGD(
            net.parameters(),
            0.025,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
        )
        images = torch.randn(batch, *self.images.shape[1:], device=self.device)
        images = images.contiguous(memory_format=self.format)
        labels = torch.randint(0, config.num_classes, (batch,), device=self.device)

        def run(count):
            started = clock(self.device)
            for _ in range(count):
                sgd.zero_grad(set_to_none=True)
                with torch.autocast(self.device, torch.bfloat16, enabled=self.amp):
                    logits, auxiliary = net(images, config.drop_path)
                loss = functional.cross_entropy(logits.float(), labels)
                if auxiliary is not None:
                    head = functional.cross_entropy(auxiliary.float(), labels)
                    loss = loss + 0.4 * head
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
                sgd.step()
            return (clock(self.device) - started) / count, loss.item()

        run(2)
        timed = [run(steps) for _ in range(repeats)]
        return {"seconds_all": [part[0] for part in timed], "loss": timed[-1][1]}
