"""When multimodal models learn a new word for the same concept, is it the same word?"""

__version__ = "0.1.0"
