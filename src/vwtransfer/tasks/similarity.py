"""Similarities by which textual inversion is measured in the literature: of unit vectors.

    clip_i  CLIP-I, image similarity: the mean cosine between each generation and each photo of the
            concept, by the judge's image tower
    dino    DINO: the same by a DINO, which tells two things of one kind apart where CLIP does not
    clip_t  CLIP-T, prompt fidelity: the mean cosine between what is drawn in each of several
            prompts and the prompt, by the judge's two towers

after DreamBooth (arXiv 2208.12242, section 4.1); CLIP-I and CLIP-T are the similarities to images
and to text of Textual Inversion (arXiv 2208.01618, section 5.1). What they leave open is taken so:
photos are the concept's training images; the text of clip_t has the concept's name where the
generator's prompt has the word, as DreamBooth's has the name of the class (Textual Inversion
leaves the place empty).

Letters: M images, P photos, E width of the features.
"""

from torch import Tensor


def image_similarity(images_ME: Tensor, photos_PE: Tensor) -> float:
    """Mean cosine over all pairs of an image and a photo; rows have length 1."""
    return float((images_ME @ photos_PE.T).mean())


def prompt_fidelity(images_ME: Tensor, texts_ME: Tensor) -> float:
    """Mean cosine between each image and its own text; rows have length 1."""
    return float((images_ME * texts_ME).sum(dim=1).mean())
