"""Features -> codes and indices. One idea a class; float32 inside, whatever autocast says."""
