from hypothesis import given
from hypothesis import strategies as st

from app.commands.lines import LineSplitter


def split(chunks, line_max=100):
    splitter = LineSplitter(line_max)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


def test_a_line_that_comes_in_pieces_is_one_line():
    assert split([b"he", b"llo\nwor", b"ld\n"]) == ["hello", "world"]


def test_a_last_line_without_an_end_is_not_lost():
    assert split([b"one\ntwo"]) == ["one", "two"]


def test_an_empty_line_stays_and_a_carriage_return_goes():
    assert split([b"a\r\n\nb\n"]) == ["a", "", "b"]


def test_a_long_line_is_cut_before_its_end_has_come():
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcdefghij") == ["abcd", "efgh"]
    assert splitter.feed(b"k\n") == ["ijk"]


def test_a_character_is_never_cut():
    assert split([bytes([byte]) for byte in "é€😀\n".encode()]) == ["é€😀"]


def test_what_is_no_text_is_replaced_and_breaks_nothing():
    assert split([b"a\xffb\n", b"\xe2\x82"]) == ["a\ufffdb", "\ufffd"]


@given(
    st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])),
    st.lists(st.integers(1, 9)),
    st.integers(1, 9),
)
def test_nothing_is_lost_however_the_pipe_cuts_it(text, cuts, line_max):
    raw, chunks = text.encode(), []
    for size in cuts:
        chunks.append(raw[:size])
        raw = raw[size:]
    lines = split([*chunks, raw], line_max)
    assert "".join(lines) == text.replace("\n", "")
    assert all(len(line) <= line_max for line in lines)
