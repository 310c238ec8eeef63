"""The Categorical Hierarchical VQ-VAE."""
