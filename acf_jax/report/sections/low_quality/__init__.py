"""The low-quality sample: Table 2 and Fig. 13."""
