"""Words of other tools, taken from one model to another by their text encoders alone.

`inputs` finds and reads files, `converter` maps words, `outputs` writes them, `page` shows them.
"""
