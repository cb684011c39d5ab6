"""Boxes drawn on a picture, for a person to look at."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

COLOUR = (220, 30, 60)


def draw_boxes(
    image: Image.Image, boxes: Sequence[tuple[Sequence[float], float]], label: str
) -> Image.Image:
    """A copy of the image with each (x0, y0, x1, y1) box and its score, cut at the border.

    Scores can still be read at half the size, boxes at a quarter.
    """
    picture = image.convert("RGB")
    pen = ImageDraw.Draw(picture)
    thick = max(1, round(max(picture.size) / 64))
    pen.font = ImageFont.load_default(max(10, max(picture.size) / 14))
    for (x0, y0, x1, y1), score in boxes:
        left, right = (min(max(x, 0), picture.width - 1) for x in (x0, x1))
        top, bottom = (min(max(y, 0), picture.height - 1) for y in (y0, y1))
        pen.rectangle((left, top, right, bottom), outline=COLOUR, width=thick)
        text = f"{label} {score:.2f}".strip()
        _, _, width, height = pen.textbbox((0, 0), text)
        place = max(0, top - height)
        pen.rectangle((left, place, left + width, place + height), fill=COLOUR)
        pen.text((left, place), text, fill="white")
    return picture
