"""Sizes of the published generators of IBQ; numbers only. They are those of a GPT."""

from tokzoo.generators.gpt.config import TINY as GPT_TINY
from tokzoo.generators.gpt.config import GptConfig

IBQ_AR_B = GptConfig(width=1024, depth=16, num_heads=16)
IBQ_AR_L = GptConfig(width=1280, depth=20, num_heads=20)
IBQ_AR_XL = GptConfig(width=1536, depth=24, num_heads=24)
IBQ_AR_XXL = GptConfig(width=1920, depth=30, num_heads=30)

TINY = GPT_TINY
