"""Codes -> pixels. A decoder reads `Features` whose latents are codes, and knows no quantizer, encoder or tokenizer."""
