"""Pixels -> features. An encoder returns `Features` and knows no quantizer, decoder or tokenizer."""
