"""Where text comes from: every kind of input, every kind of fault, and chunks that put together are the text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr.train.sources import Chunk, Source, chunks, find, read_bytes

MARK = "<|endoftext|>"
# letters, every kind of white space, half the mark, several planes: what a cut could break
texts = st.lists(
    st.sampled_from(
        ["a", "Bc", "é", "漢", "\U0001f469\u200d\U0001f680", " ", "  ", "\n", "\r\n", "\n\n", "\t", "\u3000"]
    )
    | st.sampled_from(["'s", "12", "<|end", MARK, "\u0301", "\u2028"])
).map("".join)


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Source(path, "jsonl" if path.suffix == ".jsonl" else "text")


@given(text=texts, size=st.integers(1, 12), marked=st.booleans())
def test_chunks_put_together_are_the_text_and_go_on_from_any_of_their_ends(tmp_path_factory, text, size, marked):
    source = written(tmp_path_factory.mktemp("text") / "a.txt", text)
    separator = MARK if marked else None
    found = list(chunks(source, "text", separator, size=size))
    ended = "".join(chunk.text + (MARK if chunk.ends else "") for chunk in found)
    expected = text.removesuffix(MARK) if marked else text
    assert ended == (expected + MARK if text else "")
    assert all(len(chunk.text) <= size + len(separator or "") + 1 for chunk in found)
    assert not marked or not any(MARK in chunk.text for chunk in found)
    for number, chunk in enumerate(found):
        assert list(chunks(source, "text", separator, start=chunk.position, size=size)) == found[number + 1 :]


def test_a_cut_is_before_white_space_after_a_letter_where_there_is_one(tmp_path):
    source = written(tmp_path / "a.txt", "one two\nthree\n\nfour five six seven\n")
    parts = [chunk.text for chunk in chunks(source, "text", size=14)]
    assert parts == ["one two\nthree", "\n\nfour five", " six seven\n"]


def test_json_lines_are_documents_by_their_field(tmp_path):
    rows = [{"id": 1, "body": "one\nline"}, {"id": 2, "body": "two" + MARK + "three"}, {"id": 3, "body": ""}]
    text = json.dumps(rows[0]) + "\n\n" + json.dumps(rows[1]) + "\n" + json.dumps(rows[2])
    source = written(tmp_path / "a.jsonl", text)
    found = list(chunks(source, "body", MARK))
    assert [(chunk.text, chunk.ends) for chunk in found] == [
        ("one\nline", True),
        ("two", True),
        ("three", True),
        ("", True),
    ]
    assert found[1].position is None, "a row is read from its beginning"
    assert list(chunks(source, "body", MARK, start=found[0].position)) == found[1:]
    assert read_bytes(source, "body") == f"one\nline\ntwo{MARK}three\n\n".encode()
    long = written(tmp_path / "b.jsonl", json.dumps({"text": "word " * 20}))
    found = list(chunks(long, "text", size=30))
    assert "".join(chunk.text for chunk in found) == "word " * 20 and max(len(chunk.text) for chunk in found) <= 30
    assert [chunk.ends for chunk in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"txt": "a", "id": 1}', r"line 2 has no field 'text'; did you mean 'txt'\?.*write --set data\.field=txt"),
        ('{"id": 1}', "line 2 has no field 'text'; it has 'id'$"),
        ('"text"', "line 2 has no field 'text'; it is 'text'$"),
        ('{"text": 5}', "line 2: the field 'text' is not text but 5"),
        ('{"text": "a', "line 2 is not JSON"),
        ('{"text": "\\ud800"}', "line 2: the text holds half a surrogate pair"),
        (b'{"text": "\xff"}', "line 2 is not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    good = b'{"text": "good"}\n'
    source = written(tmp_path / "a.jsonl", good + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(ValueError, match=message):
        list(chunks(source, "text"))
    with pytest.raises(ValueError, match=message):
        list(chunks(source, "text", start=len(good)))


def test_what_is_no_text_is_refused_by_name(tmp_path):
    picture = written(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n\0\0\0")
    wide = written(tmp_path / "wide.txt", "text".encode("utf-16"))
    latin = written(tmp_path / "latin.txt", b"x" * 5000 + "grün".encode("latin-1"))
    for read in (lambda source: read_bytes(source, "text"), lambda source: list(chunks(source, "text", size=100))):
        with pytest.raises(ValueError, match=r"a\.png is not text: it holds zero bytes"):
            read(picture)
        with pytest.raises(ValueError, match=r"wide\.txt is UTF-16; write it as UTF-8"):
            read(wide)
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8 text \(byte 5002: .*iconv"):
        list(chunks(latin, "text", size=100))
    (tmp_path / "gone.txt").touch()
    [gone] = find([str(tmp_path / "gone.txt")])
    gone.path.unlink()
    with pytest.raises(OSError, match=r"gone\.txt cannot be read: No such file"):
        list(chunks(gone, "text"))


def test_files_folders_and_patterns_in_the_order_of_their_names(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b.jsonl", "a/c.npy", ".hidden/x.txt", "[odd].txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(*words):
        found = find([str(tmp_path / word) for word in words])
        return [(source.path.relative_to(tmp_path).as_posix(), source.kind) for source in found]

    everything = [("[odd].txt", "text"), ("a/b.jsonl", "jsonl"), ("a/c.npy", "tokens"), ("a/z.txt", "text")]
    assert names("") == [*everything, ("b.txt", "text")]
    assert names("**/*.txt") == [("[odd].txt", "text"), ("a/z.txt", "text"), ("b.txt", "text")]
    assert names("b.txt", "a/?.txt") == [("b.txt", "text"), ("a/z.txt", "text")]
    assert names("[odd].txt") == [("[odd].txt", "text")], "a file of that name goes before the pattern"
    with pytest.raises(FileNotFoundError, match=r"no file fits the pattern .*\*\.md"):
        names("*.md")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        names("none.txt")


def test_an_empty_file_is_no_document(tmp_path):
    assert list(chunks(written(tmp_path / "a.txt", ""), "text")) == []
    assert list(chunks(written(tmp_path / "b.txt", "x"), "text")) == [Chunk("x", True, 1)]


def test_what_lehr_wrote_in_a_folder_of_data_is_passed_over(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    run, tokens = tmp_path / "runs" / "one", tmp_path / "tokens"
    for folder in (run, tokens):
        folder.mkdir(parents=True)
    for name in ("config.json", "log.txt", "sample.txt"):
        (run / name).write_text("{}")
    (tokens / "tokens.json").write_text("{}")
    assert [source.path.name for source in find([str(tmp_path)])] == ["a.txt"]


def test_text_that_is_named_twice_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"a\.txt is named twice in .*; name it once"):
        find([str(tmp_path), str(tmp_path / "*.txt")])
