"""A small ACF on a small mock sky, in minutes on a laptop's CPU.

    python -m datasets.build --config mock
    python train.py --config configs/demo.py

Seven minutes on two cores; then the residuals of 1,211 validation stars of the mock sky scatter by 82 K, 0.089 and
0.104 dex about the injected truth.

Half a million parameters, 96,000 stamps seen. Initial weights, learning rate, warm-up and clipping are for a network
this small and a run this short; the published ones would not get far in it. Inputs are scaled as in configs/acf.py,
because that learns most here: docs/input-scaling.md.
"""

from ml_collections import ConfigDict

from configs import acf


def get_config() -> ConfigDict:
    """The demo's run."""
    config = acf.get_config()
    config.batch_size = 32  # stars; on a CPU it costs no more per star than 128 and takes more steps
    config.num_steps = 3_000  # steps, some 20 epochs
    config.cache_in_memory = True  # 330 MB
    config.dataset.config = "mock"  # 6,000 stars

    config.model.embed_dim = 16  # channels of the first stage
    config.model.depths = (1, 1, 2, 1)  # blocks per stage
    config.model.weight_std = 0.1  # so few channels need about this much to pass a signal on; 0.02 learns later

    config.optimizer.schedule = "warmup_cosine"
    config.optimizer.learning_rate = 1.5e-3  # at the peak; twice as much learns [Fe/H] far later
    config.optimizer.warmup_steps = 200  # steps of linear rise
    config.optimizer.beta1 = 0.9  # with 0.99 a run at this rate does not settle: 650 K at step 400 against 200 K
    config.optimizer.clip_norm = 1.0  # bound of the gradient's global norm
    return config
