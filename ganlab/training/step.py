"""One training step: D on its batches, then G against the last of them; the average follows G. Knows no files.

Every random draw comes from a named stream: two runs that differ only in their prior share weights, batches and
augmentation.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from ganlab import priors
from ganlab.config import Config
from ganlab.data import to_float
from ganlab.machine import device as chosen_device
from ganlab.machine import precision as chosen_precision
from ganlab.networks.build import build
from ganlab.networks.ema import Ema
from ganlab.training import losses
from ganlab.training.augment import augment, augment_real
from ganlab.training.losses import feature_matching, gradient_penalty, squared_gradient
from ganlab.training.recorded import Recorded

STREAMS = ("data", "augment", "prior", "dropout")  # and "init", which is drawn from once
COMPILER = "inductor"  # of torch.compile
Maps = list[torch.Tensor]  # feature maps (n, C, S, S), one a scale
Batch = tuple[torch.Tensor, torch.Tensor | None]  # images uint8 (n, 3, R, R), labels int64 (n,) if conditional


class DStatistics(NamedTuple):
    """D's losses before its update, and the share of real and of generated images that it is right about."""

    loss_real: torch.Tensor
    loss_fake: torch.Tensor
    penalty: torch.Tensor
    acc_real: torch.Tensor
    acc_fake: torch.Tensor


class Statistics(NamedTuple):
    """What a step reports, each a mean over its last batch, a scalar tensor. Columns of the history."""

    d_loss_real: torch.Tensor
    d_loss_fake: torch.Tensor
    penalty: torch.Tensor
    g_loss: torch.Tensor
    d_acc_real: torch.Tensor
    d_acc_fake: torch.Tensor


class Gan:
    """G and D, their optimisers, the average of G, and the random streams: what a step changes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = chosen_device(config.device)
        self.precision = chosen_precision(config.precision, self.device)
        self.streams = {name: torch.Generator(self.device).manual_seed(stream_seed(config, name)) for name in STREAMS}
        init = torch.Generator().manual_seed(stream_seed(config, "init"))  # on the CPU: the same weights anywhere
        networks = build(config, init, self.streams["dropout"])
        self.g, self.d = (n.to(self.device, memory_format=torch.channels_last) for n in networks)
        self.ema = Ema(self.g, config.ema_half_life)
        if config.compile:
            for network in (self.g, self.d):
                network.compile(backend=COMPILER)  # in place: the names of the weights stay
        on_gpu = self.device.type == "cuda"
        adam = {"betas": (config.beta1, config.beta2), "fused": True, "capturable": on_gpu}
        self.g_optimiser = torch.optim.Adam(self.g.parameters(), config.g_lr, **adam)
        self.d_optimiser = torch.optim.Adam(self.d.parameters(), config.d_lr, **adam)
        self.loss = losses.get(config.loss, config.real_label, config.fake_label)
        self.prior = priors.get(config.prior, config.scaling)
        recorded = on_gpu and not config.compile  # torch.compile has its own ways
        self.updates = Recorded(self._updates, self.streams.values()) if recorded else self._updates

    def step(self, batches: Iterator[Batch], images_seen: int) -> Statistics:
        """One step on the next ``d_steps`` batches; images_seen: how many, these included, the run has seen."""
        config = self.config
        inputs = [
            (*next(batches), self.prior.sample(config.batch_size, config.latent_dim, self.streams["prior"]))
            for _ in range(config.d_steps)
        ]
        statistics = self.updates(inputs)
        self.ema.update(images_seen, config.batch_size * config.d_steps)
        return statistics

    def _updates(self, inputs: list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]]) -> Statistics:
        """D on each batch, then G against the last. inputs: (images, labels, latents (n, d)) of each batch."""
        config = self.config
        for images, labels, latents in inputs:  # the generated images get the labels of the real ones
            real = to_float(images).to(memory_format=torch.channels_last)
            real = augment_real(real, config.real_augment, self.streams["augment"])
            with self.autocast():
                fake = self.g(latents, labels)
            if self.d.frozen_features:
                maps = self._maps(real, fake)
                d = self._update_d(*self._logits_of_maps(*maps, labels), torch.zeros((), device=self.device))
            else:
                d = self.discriminator_step(real, fake.detach(), labels)
        if self.d.frozen_features:
            g_loss = self._frozen_generator_step(*maps, labels)
        else:
            g_loss = self.generator_step(fake, real, labels)
        return Statistics(d.loss_real, d.loss_fake, d.penalty, g_loss, d.acc_real, d.acc_fake)

    def discriminator_step(
        self, real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor | None = None
    ) -> DStatistics:
        """Updates D. real, fake: (n, 3, R, R) float32 in [-1, 1]."""
        config = self.config
        if config.d_norm == "batch" or config.minibatch != "none":  # real and fake each have their own batch
            seen, given = [self._augmented(real), self._augmented(fake)], labels
        else:
            seen, given = [self._augmented(torch.cat([real, fake]))], None if labels is None else labels.repeat(2)
        if config.r1 or config.r2:
            seen = [images.detach().requires_grad_() for images in seen]
        logits = [self._logits(images, given) for images in seen]
        return self._update_d(*torch.cat(logits).chunk(2), self._penalty(seen, logits, labels))

    def _update_d(self, real_logits: torch.Tensor, fake_logits: torch.Tensor, penalty: torch.Tensor) -> DStatistics:
        d_real, d_fake = self.loss.discriminator(real_logits, fake_logits)
        self.d_optimiser.zero_grad()
        (d_real + d_fake + penalty).backward()
        self.d_optimiser.step()
        paired, boundary = self.loss.paired, self.loss.boundary
        acc_real = (real_logits > (fake_logits if paired else boundary)).float().mean()
        acc_fake = (fake_logits < (real_logits if paired else boundary)).float().mean()
        return DStatistics(d_real, d_fake, penalty, acc_real, acc_fake)

    def _penalty(
        self, seen: list[torch.Tensor], logits: list[torch.Tensor], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The weighted penalties on D's gradient, 0 without any. seen: the batches as D saw them, real images before
        generated ones; logits: what it said of each. R1 and R2 follow these logits back, in the precision they were
        computed in, as Huang 2024's code does; the gradient penalty asks D anew, in float32."""
        config, total = self.config, torch.zeros((), device=self.device)
        if config.gradient_penalty:
            stream = self.streams["augment"]
            judged = gradient_penalty(lambda images: self.d(images, labels), *torch.cat(seen).chunk(2), stream)
            total = total + config.gradient_penalty * judged
        if config.r1 or config.r2:
            squares = torch.cat([squared_gradient(*both) for both in zip(logits, seen, strict=True)])
            on_real, on_fake = squares.chunk(2)
            total = total + config.r1 / 2 * on_real.mean() + config.r2 / 2 * on_fake.mean()
        return total

    def generator_step(
        self, fake: torch.Tensor, real: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Updates G; returns its loss before the update. ``fake`` still hangs on the graph that made it."""
        config = self.config
        self.d.requires_grad_(False)  # G's gradient passes through D, but D's own need not be computed
        if config.feature_matching or self.loss.paired:
            features, real_features = (self._features(self._augmented(images), labels) for images in (fake, real))
            with self.autocast():
                logits, real_logits = (self.d.logit(f, labels).float() for f in (features, real_features))
            g_loss = self.loss.generator(logits, real_logits)
            if config.feature_matching:
                g_loss = g_loss + config.feature_matching * feature_matching(real_features.float(), features.float())
        else:
            g_loss = self.loss.generator(self._logits(self._augmented(fake), labels), None)
        return self._update_g(g_loss)

    def _update_g(self, g_loss: torch.Tensor) -> torch.Tensor:
        self.g_optimiser.zero_grad()
        g_loss.backward()
        self.g_optimiser.step()
        self.d.requires_grad_(True)
        return g_loss

    def _maps(self, real: torch.Tensor, fake: torch.Tensor) -> tuple[Maps, Maps]:
        """Frozen features of what D sees of real and generated images: computed once, for D's update and for G's."""
        seen_real, seen_fake = self._augmented(torch.cat([real, fake])).chunk(2)
        with self.autocast():
            with torch.no_grad():
                real_maps = self.d.features(seen_real)
            return real_maps, self.d.features(seen_fake)

    def _logits_of_maps(self, real: Maps, fake: Maps, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """D's logits of real and of generated images, for its own update: no gradient reaches G."""
        both = None if labels is None else labels.repeat(2)
        with self.autocast():
            together = [torch.cat([a, b.detach()]) for a, b in zip(real, fake, strict=True)]
            return self.d.logit(together, both).float().chunk(2)

    def _frozen_generator_step(self, real: Maps, fake: Maps, labels: torch.Tensor | None) -> torch.Tensor:
        """``generator_step`` for frozen features, of which ``fake`` still hangs on the graph that made it."""
        self.d.requires_grad_(False)
        with self.autocast():
            logits = self.d.logit(fake, labels).float()
            real_logits = self.d.logit(real, labels).float() if self.loss.paired else None
        return self._update_g(self.loss.generator(logits, real_logits))

    def _augmented(self, images: torch.Tensor) -> torch.Tensor:
        """What D sees of images."""
        images = augment(images.float(), self.config.diffaugment, self.config.instance_noise, self.streams["augment"])
        return images.contiguous(memory_format=torch.channels_last)

    def _logits(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """D's logits (N,) float32 of images as it sees them."""
        with self.autocast():
            return self.d(images, labels).float()

    def _features(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        with self.autocast():
            return self.d.features(images, labels)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def weights_norm(self) -> torch.Tensor:
        """A scalar that is finite as long as every weight is."""
        return torch.stack(torch._foreach_norm([*self.g.parameters(), *self.d.parameters()])).sum()

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": {name: getattr(self, name).state_dict() for name in ("g", "d")},
            "ema": self.ema.network.state_dict(),
            "optimisers": [self.g_optimiser.state_dict(), self.d_optimiser.state_dict()],
            "streams": {name: stream.get_state() for name, stream in self.streams.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.g.load_state_dict(state["networks"]["g"])
        self.d.load_state_dict(state["networks"]["d"])
        self.ema.network.load_state_dict(state["ema"])
        self.g_optimiser.load_state_dict(state["optimisers"][0])
        self.d_optimiser.load_state_dict(state["optimisers"][1])
        for name, stream in self.streams.items():
            stream.set_state(state["streams"][name])


def stream_seed(config: Config, stream: str) -> int:
    """A stream's own seed: streams never overlap, and ``latent_seed`` moves the training latents alone."""
    seed = config.latent_seed if stream == "prior" and config.latent_seed >= 0 else config.seed
    return int.from_bytes(hashlib.sha256(f"{stream} {seed}".encode()).digest()[:7], "big")
