"""What tokenizers need besides pixels, and the frozen networks that compute it. Heavy libraries load in use."""

from tokzoo.conditions.clip_text import ClipText
from tokzoo.conditions.contract import Condition, ConditionHelper, helpers_of, noise_for, pick

__all__ = ["ClipText", "Condition", "ConditionHelper", "helpers_of", "noise_for", "pick"]
