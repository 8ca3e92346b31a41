"""The ACF as published: https://doi.org/10.1051/0004-6361/202452365 , sections 3.1.4 and 3.4.

    python train.py --config configs/acf.py

on the high-quality sample of 106,145 stars, 300 epochs of 663 steps. Not yet run by us; the same network and length
on the mock sky are in configs/mock.py.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The published run."""
    config = ConfigDict()
    config.seed = 0  # of parameters, shuffling, augmentation and dropout
    config.batch_size = 128  # stars; global: divided among the devices
    config.microbatch_size = 0  # stars a device works on at a time; 0: about 32 on a CPU, its whole share elsewhere
    config.num_epochs = 300.0  # epochs; may be a fraction
    config.num_steps = 0  # steps; if not 0, instead of num_epochs
    config.checkpoint_every_steps = 0  # steps from one validation and checkpoint to the next; 0: an epoch
    config.log_every_steps = 20  # steps from one TensorBoard point to the next
    config.cache_in_memory = False  # read the dataset once; 55 kB a star
    config.backbone_weights = ""  # file that the backbone starts from: docs/imagenet-weights.md; "": drawn at random

    config.dataset = ConfigDict()
    config.dataset.name = "smss_stamps"  # TFDS name
    config.dataset.config = "high_quality"  # TFDS config, the sample
    config.dataset.bands = "uvgriz"  # the stamps' bands, in order

    config.model = ConfigDict()
    config.model.targets = ("teff", "logg", "fe_h")  # outputs; the paper trains one network per label
    config.model.use_parallax = True  # False: ACPF
    config.model.growth_curve = False  # True, not the paper's: the scalar branch also reads the stamp's own fluxes
    config.model.heteroscedastic = False  # True, not the paper's: the head also predicts the variance of each label
    config.model.pooling = "mean"  # of the last map's tokens; "mean_attention", not the paper's, appends a learned mean
    config.model.embed_dim = 64  # channels of the first stage; doubled from stage to stage
    config.model.depths = (2, 4, 32, 2)  # blocks per stage
    config.model.num_heads = (2, 4, 8, 16)  # attention heads per stage
    config.model.stripe_widths = (1, 2, 3, 3)  # tokens, per stage
    config.model.mlp_ratio = 4.0  # hidden width of a block's MLP / channels
    config.model.drop_path_rate = 0.0  # probability; stochastic depth, which the paper does not use
    config.model.dtype = "float32"  # of the backbone's computation; "bfloat16" for GPUs. Parameters stay float32
    config.model.remat = "dots"  # what the backward pass computes anew: "nothing", "dots" or "blocks" (least memory)
    config.model.weight_std = 0.02  # of the initial weights, a truncated normal distribution; biases are 0
    config.model.astrometric_features = 128  # width of the astrometric branch
    config.model.head_widths = (320, 160)  # hidden widths of the prediction module
    config.model.dropout_rate = 0.2  # probability; on the input of each dense layer, in training and in prediction

    config.input = ConfigDict()
    # The paper does not say how fluxes are scaled. "whitened" is "linear" with a fixed 6 x 6 matrix behind it that the
    # first convolution could learn by itself, so the network's reach is the same; it learns colours sooner. Measured on
    # the mock sky with a small network: docs/input-scaling.md.
    config.input.stamp_method = "whitened"  # linear, whitened or asinh
    config.input.asinh_softening_sigma = 100.0  # sky sigma; where asinh turns from linear to logarithmic
    config.input.parallax_method = "log"  # log or raw

    config.augment = ConfigDict()
    config.augment.flips = True  # mirror half of the stamps
    config.augment.rotations = "quarter"  # none, quarter (multiples of 90 degrees: exact) or free (interpolates)

    config.optimizer = ConfigDict()
    config.optimizer.schedule = "staircase"  # staircase or warmup_cosine
    config.optimizer.learning_rate = 1e-4  # at the start (staircase) or at the peak (warmup_cosine)
    config.optimizer.decay_rate = 0.8  # factor of a step down; staircase only
    config.optimizer.decay_epochs = 50  # epochs from one step down to the next; staircase only
    config.optimizer.warmup_steps = 0  # steps of linear rise; warmup_cosine only
    config.optimizer.beta1 = 0.99  # as printed in the paper; Adam's usual value is 0.9
    config.optimizer.beta2 = 0.999  # decay of the second moment
    config.optimizer.epsilon = 1e-8  # added to the root of the second moment
    config.optimizer.l2 = 5e-5  # coefficient of the L2 term, added to the gradient before Adam's scaling
    config.optimizer.clip_norm = 0.0  # bound of the gradient's global norm; 0: none
    return config
