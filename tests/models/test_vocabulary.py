"""What a tokenizer of each kind reads as one word, and where a word's places are in a prompt."""

from pathlib import Path

import pytest

from small_encoders import KINDS, small_encoder
from tiny_text import TASKS, space
from vwtransfer.errors import UserError
from vwtransfer.models.vocabulary import Vocabulary, check_single_token, of_open_clip
from vwtransfer.tinyworld.lexicon import words


def vocabulary_of(kind: str) -> Vocabulary:
    return small_encoder(kind).text.vocabulary


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_s_id_is_what_the_library_gives_it_behind_a_space(kind: str) -> None:
    vocabulary, tokenizer = vocabulary_of(kind), small_encoder(kind).tokenizer
    special = set(tokenizer.all_special_ids)
    before = [i for i in tokenizer("a photo of").input_ids if i not in special]
    split = 0
    for word in words():
        ids = [i for i in tokenizer(f"a photo of {word}").input_ids if i not in special]
        own = ids[len(before) :]
        assert vocabulary.word_id(word) == (own[0] if len(own) == 1 else None)
        assert vocabulary.token_ids(word) == own
        split += len(own) > 1
    assert 0 < split < len(words())


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_that_the_tokenizer_reads_as_one_token(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    assert {word for word in words() if word in vocabulary.words} == {
        word for word in words() if vocabulary.word_id(word) is not None
    }
    for word, number in vocabulary.words.items():  # CLIP has upper-case letters without a use
        assert vocabulary.word_id(word) == number or (kind == "clip" and word.isupper())


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_of_a_longer_word_is_never_taken_for_the_word(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    for word in ("photo", "star"):
        number = vocabulary.word_id(word)
        for longer in (f"{word}qx", f"qx{word}", f"x{word}"):
            assert vocabulary.word_id(longer) is None
            assert longer not in vocabulary.words
        if number is not None:
            assert vocabulary.words[word] == number
    pieces = [t for t in vocabulary.tokens if not vocabulary.spelling(t)[1]]
    inside = {vocabulary.ids[piece] for piece in pieces}
    assert pieces
    assert not inside & set(vocabulary.words.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", ["a photo of {}", "{}", "the {} on sand", "a {}, big"])
def test_a_word_has_as_many_places_in_a_row_as_vectors(kind: str, template: str) -> None:
    vocabulary = vocabulary_of(kind)
    lengths = []
    for num_vectors in (1, 2, 4):
        ids, first = vocabulary.prompt(template, num_vectors)
        places = range(first, first + num_vectors)
        outside = [number for place, number in enumerate(ids) if place not in places]
        assert not {ids[place] for place in places} & set(outside)
        lengths.append(sum(vocabulary.mask(ids)))
    assert [length - lengths[0] for length in lengths] == [0, 1, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_is_the_library_s(kind: str) -> None:
    vocabulary, tokenizer = vocabulary_of(kind), small_encoder(kind).tokenizer
    for text in ("", "a photo of asterisk", "red"):
        inputs = tokenizer(text, padding="max_length", max_length=24, return_attention_mask=True)
        ids = vocabulary.encode(text)
        assert ids == inputs.input_ids
        assert vocabulary.mask(ids) == inputs.attention_mask
    assert vocabulary.masked == ("attention_mask" in tokenizer("red"))


def test_each_kind_is_read_where_its_model_reads_it() -> None:
    at = {}
    for kind in KINDS:
        vocabulary = vocabulary_of(kind)
        ids = vocabulary.encode("a photo")
        at[kind] = vocabulary.read_index(ids)
    # end of text, [CLS], </s>, last place, last place, last of a left-padded prompt, last token
    expected = {"clip": 3, "bert": 0, "siglip": 23, "siglip2": 23, "gemma3": 23}
    assert {kind: at[kind] for kind in expected} == expected
    assert vocabulary_of("t5").encode("a photo")[at["t5"]] == vocabulary_of("t5").end_id
    assert at["qwen"] == len(vocabulary_of("qwen").tokenize("a photo")) - 1


def test_a_vocabulary_over_bytes_has_words_of_other_alphabets() -> None:
    vocabulary = vocabulary_of("qwen")
    for word in ("café", "фото"):
        assert vocabulary.word_id(word) == vocabulary.words[word]
    assert vocabulary_of("clip").word_id("фото") is None


def test_case_is_what_the_tokenizer_makes_of_it() -> None:
    word = next(iter(set(words()) & set(vocabulary_of("clip").words)))
    assert vocabulary_of("clip").word_id(word.upper()) == vocabulary_of("clip").word_id(word)
    assert vocabulary_of("siglip").word_id("PHOTO") == vocabulary_of("siglip").word_id("photo")
    assert vocabulary_of("t5").word_id("PHOTO") is None


def test_the_published_clip_vocabulary_has_the_paper_s_numbers_of_words() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    vocabulary = of_open_clip(tokenizer, 77)
    assert len(vocabulary.tokens) == 49406
    assert sum(token.endswith("</w>") for token in vocabulary.tokens) == 34483
    for text in ("a photo of a cat", "café, fotos & 2014!"):
        assert vocabulary.encode(text) == tokenizer([text])[0].tolist()
    for word in ("cat", "café", "фото"):
        assert vocabulary.word_id(word) == vocabulary.words[word]
    assert vocabulary.word_id("2014") is None
    ids, first = vocabulary.prompt("a photo of {}", 4)
    assert vocabulary.strings(ids)[first : first + 4] == ["the</w>"] * 4


@pytest.mark.parametrize("task", TASKS)
def test_prompts_of_the_tiny_models_are_what_they_were(task: str) -> None:
    (vocabulary,) = space(task).vocabularies.values()
    ids, first = vocabulary.prompt("a photo of {}", 4)
    assert (ids[:9], first) == ([967, 158, 668, 647, 191, 191, 191, 191, 968], 4)
    assert set(ids[9:]) == {0}


def test_an_anchor_of_several_tokens_is_refused_with_the_nearest_words() -> None:
    with pytest.raises(UserError, match=r"anchor=reddish: not a single token of model\.m\. .*red"):
        check_single_token("reddish", "m", {"text": vocabulary_of("t5")})
    both = {kind: vocabulary_of(kind) for kind in ("bert", "t5")}
    word = next(w for w in words() if both["bert"].word_id(w) and not both["t5"].word_id(w))
    with pytest.raises(UserError, match=r"not a single token of model\.m \(t5\)"):
        check_single_token(word, "m", both)
    check_single_token("photo", "m", both)


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_a_tokenizer_that_open_clip_wraps_is_read_as_it_reads_it(kind: str, tmp_path: Path) -> None:
    from open_clip.tokenizer import HFTokenizer

    small_encoder(kind).tokenizer.save_pretrained(tmp_path)
    wrapped = HFTokenizer(str(tmp_path), context_length=24, clean="canonicalize")
    vocabulary = of_open_clip(wrapped, 24, causal=False, read_position="last")
    assert vocabulary.kind == vocabulary_of(kind).kind
    for text in ("A photo, of asterisk!", "red star"):
        assert vocabulary.encode(text) == wrapped([text])[0].tolist()
    assert vocabulary.word_id("Photo!") == vocabulary.word_id("photo")
    ids, first = vocabulary.prompt("a photo of {}", 2)
    assert ids[first] == ids[first + 1]
