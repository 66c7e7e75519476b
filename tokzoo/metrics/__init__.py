"""How good tokens and pictures are. A number is named after the network and the protocol that made it."""
