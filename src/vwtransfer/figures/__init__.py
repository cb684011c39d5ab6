"""Figures 3 and 6 of the paper, drawn from results alone, as PNG and PDF.

Each says what it shows: the study, the transfer, how many words a mean is over, and what is missing
of it.
"""

from vwtransfer.figures.figure_3 import figure_3
from vwtransfer.figures.figure_6 import figure_6

__all__ = ["figure_3", "figure_6"]
