"""The sort and search key of names: which spellings are equal, and which stay different."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campshub.core.names import folded, is_one_line, is_visible, trimmed, words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Y\u0131ld\u0131z", "yildiz"),
        ("ŁOŚ", "los"),
        ("Đỗ", "do"),
        ("Æsir", "aesir"),
        ("École  du soir", "ecole du soir"),
        ("İzmir", "izmir"),
        ("Straße", "strasse"),
        ("STRAẞE", "strasse"),
        ("Ðorðe Þór Ħal Ŋo Œuvre Øre Ə", "dorde thor hal ngo oeuvre ore e"),
        ("\uff34\uff4f\uff4d", "tom"),  # full width
        ("O\u2019Brien", "o'brien"),
        ("a\u00adb\u200bc\u200dd\u200fe", "abcde"),
        ("Йосиф", "йосиф"),
        ("ΝΊΚΟΣ", "νίκοσ"),
        ("রহিমা খাতুন", "রহিমা খাতুন"),
        ("สมชาย ใจดี", "สมชาย ใจดี"),
        ("がく", "がく"),
        ("김민준", "김민준"),
        ("مُحَمَّد", "مُحَمَّد"),
        ("שָׁלוֹם", unicodedata.normalize("NFC", "שָׁלוֹם")),
    ],
)
def test_latin_is_folded_and_other_scripts_keep_their_marks(name, key):
    assert folded(name) == key
    assert folded(unicodedata.normalize("NFD", name)) == key


@given(TEXTS)
def test_a_key_is_its_own_key_and_contains_no_latin_beyond_ascii(text):
    key = folded(text)

    assert folded(key) == key
    assert [c for c in key if not c.isascii() and unicodedata.name(c, "").startswith("LATIN ")] == []
    assert key == " ".join(key.split())


@given(TEXTS)
def test_a_trimmed_text_stays_the_same(text):
    assert trimmed(trimmed(text)) == trimmed(text)


def test_every_latin_letter_has_a_key_of_ascii():
    letters = [c for c in map(chr, range(0x110000)) if unicodedata.name(c, "").startswith("LATIN ")]

    beyond = [c for c in letters if not folded(c).isascii() or not folded(c)]

    assert beyond == ["\u013f", "\u0140", "\u1e9a"]  # each has a sign that is not a Latin letter
    assert len(letters) > 1_000


def test_words_are_split_at_signs_and_not_at_vowel_marks():
    assert words("D'Souza-Łoś", "খাতুন", "J. R.", "Ana・Bea") == ["d", "souza", "los", "খাতুন", "j", "r", "ana", "bea"]


@pytest.mark.parametrize("text", ["Asha", "১", "😀", "خ", "-", "नि", "a\u200cb", "\u0301a"])
def test_a_letter_digit_or_sign_is_visible(text):
    assert is_visible(text)


@pytest.mark.parametrize("text", ["", " ", *"\u200b\u200d\u3164\u2800\u00a0\ufe0f\u0301\ufeff"])
def test_blanks_marks_and_fillers_alone_are_invisible(text):
    assert not is_visible(text)


@pytest.mark.parametrize("text", ["a\tb", "a\n", "\x7f", "\x9f", "\u2028", "\u202e", "\u2066", "\x00"])
def test_controls_and_overrides_do_not_belong_to_one_line(text):
    assert not is_one_line(text)
    assert is_one_line("a\u200db\u200ec")
