"""Muon for matrices and AdamW for the rest, a moving average of the weights, and the learning rate's course."""

import math
from collections.abc import Callable

import torch


def orthogonalise(update: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration on a batch of matrices [K, R, C]: singular values all near 1 (Muon's quintic coefficients), in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.transpose(1, 2) if update.shape[1] > update.shape[2] else update
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.float()
    return x.transpose(1, 2) if update.shape[1] > update.shape[2] else x


class MuonAdamW:
    """Muon with its update scaled to AdamW's usual size (0.2 * sqrt(larger dim)), so that one learning rate and one weight decay serve both."""

    MOMENTUM = 0.95
    SMALLEST_MATRIX = 16

    def __init__(
        self,
        module: torch.nn.Module,
        learning_rate: float,
        adam_learning_rate: float | None = None,
        adam_only: Callable[[str], bool] | None = None,
    ):
        self.learning_rate = learning_rate
        self.adam_learning_rate = adam_learning_rate or learning_rate
        self.matrices: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
        rest = []
        for name, p in module.named_parameters():
            if not p.requires_grad:
                continue
            is_matrix = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= self.SMALLEST_MATRIX
            if is_matrix and not (adam_only and adam_only(name)):
                self.matrices.setdefault((p.shape[0], p[0].numel()), []).append(p)
            else:
                rest.append(p)
        self.momenta = {shape: [torch.zeros_like(p) for p in ps] for shape, ps in self.matrices.items()}
        self.adam = torch.optim.AdamW(rest, lr=self.adam_learning_rate, betas=(0.9, 0.99), weight_decay=0.0, foreach=True)
        self.parameters = rest + [p for ps in self.matrices.values() for p in ps]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One step at `factor` times the learning rate, gradients clipped to norm 1; a step whose gradients blew up is left out."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if norm < 1e9:
            torch._foreach_mul_(gradients, min(1.0, 1.0 / (norm + 1e-6)))
            for group in self.adam.param_groups:
                group["lr"] = self.adam_learning_rate * factor
            self.adam.step()
            for shape, parameters in self.matrices.items():
                self._muon(shape, parameters, factor)
        for p in self.parameters:
            p.grad = None

    def _muon(self, shape, parameters, factor: float) -> None:
        pairs = [(p, m) for p, m in zip(parameters, self.momenta[shape]) if p.grad is not None]
        if not pairs:
            return
        updates = []
        for p, momentum in pairs:
            momentum.lerp_(p.grad, 1 - self.MOMENTUM)
            updates.append(torch.lerp(p.grad, momentum, self.MOMENTUM).reshape(shape))  # Nesterov
        steps = orthogonalise(torch.stack(updates)) * (0.2 * math.sqrt(max(shape)))
        for (p, _), step in zip(pairs, steps):
            p.add_(step.reshape(p.shape), alpha=-self.learning_rate * factor)


class Average:
    """Exponential moving average of a module's weights; the decay grows from 0.1 so that early averages are not stuck at the start."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.parameters = list(module.parameters())
        self.averages = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Puts the averages into the module: the end of training."""
        torch._foreach_copy_(self.parameters, self.averages)


def learning_rate_factor(step: int, steps: int, warmup: float, decay: float, floor: float = 0.02) -> float:
    """Linear warm-up over the first `warmup` of the steps, 1, then a cosine down to `floor` over the last `decay` of them."""
    progress = (step + 0.5) / steps
    if progress < warmup:
        return max(progress / warmup, 0.01)
    if progress < 1 - decay:
        return 1.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - 1 + decay) / decay))
