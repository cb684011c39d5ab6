"""Training words: the loop, what trains as one batch, and the ball a word may have to stay in."""
