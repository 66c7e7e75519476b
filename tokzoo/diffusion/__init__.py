"""What decoders and generators that draw by a flow have in common: time, noise, samplers, guidance."""
