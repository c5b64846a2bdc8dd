import pytest

from tests.wordlist import WORDS, found_in, project_files


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_found_alone_in_a_sentence_and_in_a_name(word):
    assert found_in(f"{word.capitalize()} is a word.") == [(1, word)]
    assert found_in(f"a line\n_{word}_by_it = 1") == [(2, word)]


def test_words_that_only_contain_one_are_allowed():
    assert found_in("understanding, apartment, outstanding, allowed, followed") == []


def test_code_documents_and_tests_are_checked_and_released_migrations_are_not():
    files = project_files()

    assert {"Makefile", "README.md", "campshub/app.py", "tests/conftest.py", "env.example"} <= set(files)
    assert [name for name in files if name.startswith("migrations/versions/")] == []
