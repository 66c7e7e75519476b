"""Any continuous tokenizer made discrete after training, one channel at a time: arXiv:2503.16430."""

from tokzoo.tokenizers.post_training.config import PostTrainingConfig

__all__ = ["PostTrainingConfig"]
