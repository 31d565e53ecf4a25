"""The presets: a table of recipes, each with its source, what the source left open, and what was chosen here."""

from typing import Any

# Each preset: the fields in which it differs from the defaults of ``config.Config``, and where it comes from.
# What a source leaves open follows the DCGAN paper (Radford 2016): N(0, 0.02) weights, slope 0.2, Adam 2e-4 / 0.5.
PRESETS: dict[str, dict[str, Any]] = {
    # This project's default. An upsampling G with batch norm; a D that looks through a frozen classifier of CIFAR-10 by
    # this project (Projected GAN, Sauer 2021), with small heads under spectral norm; hinge; differentiable colour,
    # translation and flips on both (Zhao 2020); Adam without momentum, (0, 0.99), as in Karras 2018; batches of 16,
    # because many small updates beat few large ones at a budget of minutes. results/bench/attempts.csv holds what was
    # tried, kept and dropped.
    "fast": {
        "generator": "upsample",
        "discriminator": "projected",
        "d_norm": "spectral",
        "g_channels": 16,
        "d_channels": 64,
        "diffaugment": ["color", "translation", "flip"],
        "loss": "hinge",
        "batch_size": 16,
        "g_lr": 5e-4,
        "d_lr": 5e-4,
        "beta1": 0.0,
        "beta2": 0.99,
    },
    # The same with D on pixels, the default of the first round: SNGAN's CNN with spectral norm (Miyato 2018) and its
    # learning rates, 2e-4. The first round had 5e-4: 3 of 10 runs stalled on cars; on ten classes D dies within three
    # epochs.
    "sngan": {
        "generator": "upsample",
        "discriminator": "sngan",
        "d_norm": "spectral",
        "g_channels": 16,
        "d_channels": 16,
        "diffaugment": ["color", "translation"],
        "loss": "hinge",
        "batch_size": 16,
        "beta1": 0.0,
        "beta2": 0.99,
    },
    # The convolutional noise study: one class, upsampling + convolution, batch norm, LeakyReLU and dropout in G;
    # strided convolution, batch norm and dropout in D; BCE; Adam. Open in the source, chosen here by measuring: 16 base
    # channels in G and 64 in D, batches of 16, learning rates of 5e-4, channel dropout 0.1 in D and a light 0.05 in G,
    # because G's dropout is a second source of noise beside the one under study. The source shows pictures at "epoch"
    # 1000, 3500, 5500, 7500 and 15000, which must be batches: of 16 images, epochs 3, 11, 18, 24 and 48.
    "conv-noise": {
        "generator": "upsample",
        "discriminator": "strided",
        "g_dropout": 0.05,
        "d_dropout": 0.1,
        "g_channels": 16,
        "d_channels": 64,
        "loss": "bce",
        "batch_size": 16,
        "g_lr": 5e-4,
        "d_lr": 5e-4,
    },
    # SNGAN's ResNet (Miyato 2018, table 4): residual G and D, spectral norm, hinge, Adam 2e-4, (0, 0.9). Chosen here,
    # so that a CPU trains it: 32 channels where the paper has 256 and 128, batch 32 where it has 64, and where it takes
    # five D steps for one of G, one of a D that learns twice as fast (Heusel 2017): after 100,000 images of ten classes
    # G is at a Frechet distance of 117 in ImageNet features, without that at 153; one run each, 1,000 samples.
    "sngan-resnet": {
        "generator": "residual",
        "discriminator": "residual",
        "d_norm": "spectral",
        "loss": "hinge",
        "batch_size": 32,
        "d_lr": 4e-4,
        "beta1": 0.0,
        "beta2": 0.9,
    },
    # R3GAN in small (Huang 2024): residual networks without any norm, relativistic pairing loss, R1, R2, Adam without
    # momentum. Chosen here, so that a CPU trains it: 32 channels at full resolution in G and 16 in D, whose penalties
    # cost most, and batch 32 where they have 512. Their 2e-4 is too little for so few images: after 50,000 images of
    # ten classes G was at a Frechet distance of 157 in ImageNet features, at 5e-4 in G, 1e-3 in D at 128 (both with 16
    # channels; one run each, 1,000 samples). 100 latents where they have 64; gamma 0.05, the start of their CIFAR-10
    # run, and (0, 0.99) throughout, where they let them change over the run.
    "r3gan-small": {
        "generator": "r3",
        "discriminator": "r3",
        "d_norm": "none",
        "d_channels": 16,
        "loss": "relativistic",
        "r1": 0.05,
        "r2": 0.05,
        "batch_size": 32,
        "g_lr": 5e-4,
        "d_lr": 1e-3,
        "beta1": 0.0,
        "beta2": 0.99,
    },
    # CIFAR-10-Gen-GAN: dense stem, upsampling + convolution, batch norm, LeakyReLU, Tanh; convolutional D; BCE, G
    # trained against a frozen D; Adam 2e-4, 0.5; batch 128, 350 epochs. Open, chosen here: D of strided convolutions
    # with batch norm, LeakyReLU and dropout 0.25, as in Keras-GAN's DCGAN, whose G is like this one; 64 base channels
    # in G and D. Without batch norm and with dropout 0.4, D stays at chance and G draws grey blobs.
    "cifar-gen-gan": {
        "generator": "upsample",
        "discriminator": "strided",
        "d_dropout": 0.25,
        "g_channels": 64,
        "d_channels": 64,
        "loss": "bce",
        "batch_size": 128,
        "epochs": 350,
    },
    # T2: dense stem to 4x4x512, transposed convolutions to 256, 128, 3; D of 128, 256, 512 with dropout and a dense
    # logit; BCE with labels 0.9 and 0.1; feature matching; minibatch discrimination; real images flipped, cropped out
    # of a margin and turned, which leaks into what is drawn; Adam 2e-4, (0.5, 0.999); batch 64, 100 epochs, grids at
    # 1, 25, 50, 75, 100. Open, chosen here: dropout 0.3, turns up to 15 degrees, feature matching of weight 0.1 in G's
    # loss (at 1 the noise of a batch's means outweighs what D says: after 100,000 images G was at a Frechet distance of
    # 198 in ImageNet features, at 0.1 at 172; one run each, 1,000 samples).
    "t2": {
        "generator": "dense_transposed",
        "discriminator": "strided",
        "d_norm": "none",
        "d_dropout": 0.3,
        "minibatch": "discrimination",
        "g_channels": 128,
        "d_channels": 128,
        "loss": "bce",
        "real_label": 0.9,
        "fake_label": 0.1,
        "feature_matching": 0.1,
        "real_augment": ["flip", "crop", "rotation"],
        "batch_size": 64,
        "epochs": 100,
        "snapshot_epochs": [1, 25, 50, 75, 100],
    },
    # The NYU course project: convolutions, batch norm, ReLU, Tanh in G; the like with LeakyReLU in D; losses below 0,
    # so a critic; pictures up to epoch 100. Open, chosen here: WGAN-GP (Gulrajani 2017), penalty 10, a critic without
    # batch norm, Adam (0, 0.9); 64 base channels. Where they take five steps of the critic for one of G, here it takes
    # one that learns three times as fast as G (Heusel 2017, TTUR), and batches of 32: on a CPU five steps leave too few
    # updates of G. Progressive growing, which the project cites, is not built.
    "nyu-wgan": {
        "generator": "transposed",
        "discriminator": "dcgan",
        "d_norm": "none",
        "g_channels": 64,
        "d_channels": 64,
        "loss": "wasserstein",
        "gradient_penalty": 10.0,
        "batch_size": 32,
        "g_lr": 1e-4,
        "d_lr": 3e-4,
        "beta1": 0.0,
        "beta2": 0.9,
        "epochs": 100,
    },
    # DCGAN: no dense layer on either side, 100-d noise reshaped to 1x1, fractionally strided convolutions, batch norm,
    # ReLU, Tanh in G; strided convolutions, batch norm, LeakyReLU in D; BCE; instance noise on D's input. Grids at 20,
    # 40, 60, 80, 100 epochs as the source drew them. Open, chosen here: noise of 0.1 (Sonderby 2017).
    "dcgan": {
        "generator": "transposed",
        "discriminator": "dcgan",
        "g_channels": 64,
        "d_channels": 64,
        "loss": "bce",
        "instance_noise": 0.1,
        "batch_size": 64,
        "epochs": 100,
        "snapshot_epochs": [20, 40, 60, 80, 100],
    },
}
