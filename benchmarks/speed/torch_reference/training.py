"""Train steps: draws, updates and the samples of step 3, as the published trainer's loop calls them."""

import torch

from . import steps
from .model import Model


def blank_samples(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples and masks for step 3 that cost the same as others: grey images, masks of ones."""
    settings, side = model.settings, model.settings.image_size
    images = torch.zeros(settings.sample_count, 3, side, side, device=model.device)
    return images, torch.ones(settings.sample_count, side, side, device=model.device)


class Training:
    """One step of one stage: fresh Adam with weight decay in the gradient, then one update per call."""

    def __init__(
        self, model: Model, step: str, *, flip: bool, samples: tuple[torch.Tensor, torch.Tensor] | None = None
    ):
        settings = model.settings
        self.model, self.step, self.flip = model, step, flip
        self.samples, self.place = samples or blank_samples(model), 0
        self.optimizer = torch.optim.Adam(
            model.focus(step),
            lr=float(settings.learning_rate),
            betas=(float(settings.beta1), float(settings.beta2)),
            eps=float(settings.eps),
            weight_decay=float(settings.weight_decay),
            fused=model.ways.fused or None,
        )
        with torch.no_grad():
            self.factors = steps.input_loss(model, flip=False, moving=False)[1].detached()

    def update(self) -> torch.Tensor:
        """Runs one iteration; returns the loss."""
        self.model.focus(self.step)
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def loss(self) -> torch.Tensor:
        """The loss of the next iteration, with its graph."""
        if self.step == "prior":
            return steps.prior_loss(self.model)
        if self.step == "step1":
            loss, factors = steps.input_loss(self.model, flip=self.flip, moving=False)
            self.factors = factors.detached()
            return loss
        if self.step == "step2":
            return steps.step2_loss(self.model, *self.draw())[0]
        return steps.step3_loss(self.model, *self.next_samples(), flip=self.flip)

    @torch.no_grad()
    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of pseudo-images and masks under drawn views and lights."""
        model, settings = self.model, self.model.settings
        count, device = settings.batch_size, model.device
        views = model.view_mean + torch.randn(count, 6, device=device) @ model.view_factor.T
        views[:, 1] *= float(settings.view_scale)
        x0, x1, y0, y1, r0, r1, _ = map(float, settings.rand_light)
        x, y, strength = (torch.empty(count, device=device).uniform_(*ends) for ends in ((x0, x1), (y0, y1), (r0, r1)))
        return steps.pseudo_images(model, self.factors, views, torch.stack([x, y], 1), strength)

    @torch.no_grad()
    def collect(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch of projected samples for step 3; the published code computes the loss as well."""
        images, masks = self.draw()
        if self.model.ways.published:
            return steps.step2_loss(self.model, images, masks)[1], masks
        return steps.project(self.model, images)[0], masks

    def next_samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next batch of kept samples, reshuffled when fewer than a batch remain."""
        size, (images, masks) = self.model.settings.batch_size, self.samples
        if self.place + size > len(images):
            order = torch.randperm(len(images), device=images.device)
            self.samples, self.place = (images[order], masks[order]), 0
        part = slice(self.place, self.place + size)
        self.place += size
        return self.samples[0][part], self.samples[1][part]
