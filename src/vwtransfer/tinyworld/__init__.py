"""A rendered world and four miniature models of it: the study's embedded default."""
