"""Section `model`: the shape of the tokenizer."""

from typing import Annotated

from pydantic import Field

from spinlock.settings.section import Section, setting


class Level(Section):
    """One level of the books of a category."""

    latent_dim: int | None = setting(
        None, "dimensions that the level may use; null: all of the embedding", ge=1
    )
    num_tokens: int | None = setting(
        None, "codes of the book; null: chosen by rate–distortion", ge=1, le=65536
    )


Levels = Annotated[list[Level], Field(max_length=8)]


class Model(Section):
    """The tokenizer."""

    group_embedding_dim: int = setting(
        64,
        "largest width of a category's embedding",
        stages=("train", "cluster_by_validation"),
        ge=1,
        le=4096,
    )
    group_hidden_dim: int = setting(
        128, "width of a category's hidden layer; the decoder's is four times it", ge=1, le=16384
    )
    levels: Levels | dict[str, Levels] = setting(
        [],
        "[]: three levels, sizes by rate–distortion; or a list of {latent_dim, num_tokens} for "
        "every category, coarse to fine; or a mapping category → list",
        stages=("train", "cluster_by_validation", "cluster_by_silhouette"),
    )
    bits: int = setting(
        288,
        "budget per operator in bits, for the levels whose sizes are automatic: those that "
        "`levels` gives take their share first",
        stages=("train", "cluster_by_validation", "cluster_by_silhouette"),
        ge=1,
        le=100_000,
    )
    target_quality: float | None = setting(
        None,
        "reach this held-out R² with as few bits as possible, at most `bits` and at least one for "
        "each book; what categories tell of one another comes on top",
        stages=("train", "cluster_by_validation", "cluster_by_silhouette"),
        gt=0,
        lt=1,
    )
    max_tokens: int | None = setting(
        None,
        "largest book of automatic levels, rounded down to a power of two; null: the size with the "
        "lowest held-out error",
        stages=("train", "cluster_by_validation", "cluster_by_silhouette"),
        ge=2,
        le=65536,
    )
    beam_width: int = setting(8, "encodings that are followed when tokens are made", ge=1, le=256)
    commitment_cost: float = setting(0.25, "β: pull of the embeddings towards their codes", ge=0)
    use_ema: bool = setting(
        True, "codes follow moving averages of what they stand for; false: gradient"
    )
    decay: float = setting(0.99, "of the moving averages", ge=0, lt=1)
    dropout: float = setting(0.1, "in the hidden layers of categories and decoder", ge=0, lt=1)
    orthogonality_weight: float = setting(
        0.1, "as training.orthogonality_weight, which wins when both are given", ge=0
    )
    informativeness_weight: float = setting(
        0.1, "as training.informativeness_weight, which wins when both are given", ge=0
    )

    @property
    def books_are_given(self) -> bool:
        """Whether the settings give the size of every book."""
        lists = self.levels.values() if isinstance(self.levels, dict) else [self.levels]
        return bool(self.levels) and all(
            level.num_tokens is not None for levels in lists for level in levels
        )
