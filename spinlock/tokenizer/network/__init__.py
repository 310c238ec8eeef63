"""The Categorical Hierarchical VQ-VAE: encoders, residual books, decoder and losses."""
