"""`tokzoo`: thin commands over the library."""
