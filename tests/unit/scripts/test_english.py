"""The lint of the project's English: each wording that it finds, and each neighbor that it lets pass."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.english import findings, main


def found(source: str, *, python: bool = False) -> list[tuple[int, str]]:
    return [(line, wrong) for line, wrong, _ in findings(source, python=python)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty Git repository, which is the current folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # A hook's repository would take the place of this one.
    monkeypatch.setenv("LC_ALL", "C")  # The language in which Git reports
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


# How docstrings open


@pytest.mark.parametrize(
    "word",
    ["What", "Whether", "Where", "Who", "Whom", "Whose", "Which", "How", "Why", "When", "That", "what", "That's"],
)
def test_docstring_may_not_open_with_a_question_word(word: str) -> None:
    """No docstring opens with a question word or That, in capitals or not."""
    opening = word.removesuffix("'s")
    assert found(f'"""{word} it does."""', python=True) == [(1, f'the docstring opens with "{opening}"')]


@pytest.mark.parametrize(
    "docstring",
    [
        "Return what is there.",
        "Whole files.",
        "However it ends.",
        "`when` in a filter.",
        "How-to guide.",
        "Thatch.",
        "",
    ],
)
def test_other_openings_pass(docstring: str) -> None:
    """A verb, a noun phrase, code and a longer word that begins alike are allowed."""
    assert found(f'"""{docstring}"""', python=True) == []


def test_every_kind_of_docstring_is_examined() -> None:
    """Modules, classes, methods, tests and attributes have docstrings; each is reported at its own line."""
    source = '''"""What it is."""

class Row:
    """Where it stands."""

    size: int = 1
    """How long it is."""

    async def read(self) -> None:
        """
        Which it reads.
        """

def test_row() -> None:
    r"""When it works."""

LIMIT = 3
"""Why there is one."""
text = "What a string says is no docstring"
'''
    lines = [(1, "What"), (4, "Where"), (7, "How"), (11, "Which"), (15, "When"), (18, "Why")]
    assert found(source, python=True) == [(line, f'the docstring opens with "{word}"') for line, word in lines]


# Wordings


@pytest.mark.parametrize(
    "idiom",
    """anew|Anew|beside|become of|becomes of|became of|for ever|go on|goes on|going on|went on|is none|are none|at all
    whatever|whoever|whichever|nobody|somebody|may be ours|come again|comes again|to and fro|of its own accord|likewise
    thereof|therein|hereby|whereof|whence|hence|thus|lest|save for|anon|nought|unto|ere""".replace("\n", "|").split(
        "|"
    ),
)
def test_idiom_is_found(idiom: str) -> None:
    """Each idiom of the table is found, in capitals or not, and the words for it are given."""
    idiom = idiom.strip()
    [(line, wrong, instead)] = findings(f"Here, {idiom}, it stands.", python=False)
    assert (line, wrong) == (1, f'"{idiom}"')
    assert instead


def test_that_is_none_is_found_once() -> None:
    """A longer idiom that holds a shorter one is one finding."""
    assert found("A change that is none.") == [(1, '"is none"')]


@pytest.mark.parametrize(
    ("british", "american"),
    [
        *[
            (f"{stem}ise", f"{stem}ize")
            for stem in ("organ", "initial", "normal", "recogn", "serial", "real", "author")
        ],
        *[(f"{stem}ised", f"{stem}ized") for stem in ("custom", "optim", "minim", "maxim", "summar")],
        *[(f"{stem}ising", f"{stem}izing") for stem in ("synchron", "capital", "categor")],
        ("Organisation", "Organization"),
        ("reorganising", "reorganizing"),
        ("unauthorised", "unauthorized"),
        ("deserialisable", "deserializable"),
        ("emphasise", "emphasize"),
        ("emphasising", "emphasizing"),
        ("analyse", "analyze"),
        ("analysed", "analyzed"),
        ("analysing", "analyzing"),
        ("colours", "colors"),
        ("behaviour", "behavior"),
        ("favourite", "favorite"),
        ("honoured", "honored"),
        ("neighbouring", "neighboring"),
        ("labour", "labor"),
        ("centre", "center"),
        ("centred", "centered"),
        ("licences", "licenses"),
        ("defence", "defense"),
        ("offence", "offense"),
        ("catalogue", "catalog"),
        ("cancelled", "canceled"),
        ("cancelling", "canceling"),
        ("labelled", "labeled"),
        ("unlabelled", "unlabeled"),
        ("modelling", "modeling"),
        ("travelled", "traveled"),
        ("fulfil", "fulfill"),
        ("fulfils", "fulfills"),
        ("grey", "gray"),
        ("artefacts", "artifacts"),
        ("whilst", "while; among"),
        ("amongst", "while; among"),
        ("learnt", "learned; spelled"),
        ("spelt", "learned; spelled"),
        ("towards", "toward"),
        ("afterwards", "afterward"),
    ],
)
def test_british_spelling_is_found(british: str, american: str) -> None:
    """British spelling is found, and the American word is given in the same form."""
    assert findings(f"It has {british} here.", python=False) == [(1, f'"{british}"', american)]


@pytest.mark.parametrize(
    "text",
    [
        *["besides", "becoming", "forever", "become", "going", "canoe", "there", "enthusiasm", "there, were", "often"],
        *["at all times", "at all of them", "at all the files", "is None", "are None", "is nonetheless", "henceforth"],
        *["emphasis", "analysis", "analyses", "organism", "optimistic", "realist", "minimal", "promise", "exercise"],
        *[
            "four hours",
            "contour",
            "licensed",
            "cancellation",
            "fulfill",
            "fulfilled",
            "toward",
            "dialogue",
            "greyhound",
        ],
        *["beside_it", "text_colour", "the `cancelled` method", "``for ever``", "go-on"],
    ],
)
def test_neighbors_pass(text: str) -> None:
    """A word that only looks like one of the table, a name with an underscore, and code in backticks are allowed."""
    assert found(text) == []


# Places


def test_python_is_read_for_comments_and_strings_only() -> None:
    """Identifiers are not English; comments, strings, keys and bytes are."""
    source = "\n".join(
        [
            "beside = nobody(whatever=colour.grey)",
            "x = 1  # anew",
            "y = {'nobody': b'thus'}",
            "z = r'\\banew'",
            "words = ['goes', 'on']",
        ]
    )
    assert found(source, python=True) == [(2, '"anew"'), (3, '"nobody"'), (3, '"thus"'), (4, '"anew"')]


def test_lines_of_a_long_docstring_count() -> None:
    """A finding in a docstring of several lines names the line of the word; one after it is not shifted."""
    source = '"""Return it.\n\nIt stands\nbeside the rest: é.\n"""\n\n# anew\n'
    assert found(source, python=True) == [(4, '"beside"'), (7, '"anew"')]


def test_text_of_an_f_string_is_examined() -> None:
    """The literal parts of an f-string are text; what it computes is code."""
    source = 'a = f"é {{x}} {nobody} anew"\nb = f"""\n{beside:>{grey}}\nthus {"lest"}"""\n'
    assert found(source, python=True) == [(1, '"anew"'), (4, '"lest"'), (4, '"thus"')]


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ('"""Say that it goes\n    on."""', True),
        ("if x:\n    # It goes\n    # on.\n    pass", True),
        ('x = ("It goes "\n    f"on.")', True),
        ('x = "It goes\\non."', True),
        ("# It goes\n# on.", False),
        ("> It goes\n> on.", False),
    ],
    ids=["docstring", "comment", "joined strings", "escape", "comment of a text file", "quotation"],
)
def test_phrase_may_be_wrapped(source: str, python: bool) -> None:
    """A phrase is found over the end of a line, and reported where it begins."""
    [(line, wrong)] = found(source, python=python)
    assert wrong == '"goes on"'
    assert "goes" in source.split("\n")[line - 1]


def test_markdown_fences_are_examined_and_code_spans_are_not() -> None:
    """In Markdown only an inline code span is let pass."""
    assert found("```python\n# anew\n```\nThe `anew` option is `x` anew.\n") == [(2, '"anew"'), (4, '"anew"')]


def test_line_can_be_silenced() -> None:
    """The mark at the end of a line silences that line alone, whatever rule it breaks."""
    assert found("a = 'anew'  # english: ok\nb = 'anew'\n", python=True) == [(2, '"anew"')]
    assert found('"""What it is."""  # english: ok\n', python=True) == []
    assert found('name = "grey" # english: ok\nname = "grey" # english: ok?\n') == [(2, '"grey"')]


def test_broken_python_is_reported() -> None:
    """A file that Python cannot parse is a finding at the broken line, not a traceback."""
    [(line, wrong)] = found("x = 1\ndef (:\n", python=True)
    assert line == 2
    assert wrong.startswith("not valid Python")


# The command


def test_findings_are_printed_with_exit_code_1(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finding is one line: file, line, what is wrong, and what to write instead."""
    (repository / "docs").mkdir()
    (repository / "docs" / "a.md").write_text("One\nof our colours\n")
    (repository / "b.py").write_text('"""What it is."""\n')
    assert main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'b.py:1: the docstring opens with "What"; write: a verb ("Return …") or a noun phrase',
        'docs/a.md:2: "colours"; write: colors',
        "english: 2 files, 2 to correct",
    ]


def test_nothing_found_is_exit_code_0(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a finding the command says in one line how much it examined."""
    (repository / "a.md").write_text("In color.\n")
    assert main([]) == 0
    assert capsys.readouterr().out == "english: 1 files, nothing to correct\n"


@pytest.mark.parametrize("name", ["a.tf", "a.hcl", "a.yml", "a.yaml", "a.toml", "a.json", "a.md", "Makefile", "run"])
def test_every_text_file_is_examined(repository: Path, name: str) -> None:
    """A file that is not Python is examined whole, whatever its name."""
    (repository / name).write_text("#!/bin/sh\nname = anew\n")
    assert main([]) == 1


def test_files_that_are_not_ours_to_write_are_left_out(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ignored and deleted files, binary files, texts of others, and the lint with its tests are not examined."""
    (repository / ".gitignore").write_text("ignored.md\n")
    names = ["LICENSE", "CODE_OF_CONDUCT.md", "requirements/dev.txt", "ignored.md", "deleted.md"]
    for name in [*names, "scripts/english.py", "tests/unit/scripts/test_english.py"]:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("# anew\n")
    (repository / "image.png").write_bytes(b"\x89 anew")
    subprocess.run(["git", "add", "deleted.md"], check=True)
    (repository / "deleted.md").unlink()
    assert main([]) == 0
    assert capsys.readouterr().out == "english: 2 files, nothing to correct\n"


def test_paths_narrow_the_search(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files and folders can be named; only they are examined."""
    for name in ("one/a.md", "one/b.md", "two/c.md", "d*.md", "dd.md"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("anew\n")
    assert main(["one", "d*.md"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["d*.md", "one/a.md", "one/b.md", "english"]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["missing.md"], "missing.md does not exist"), ([".."], "outside repository")]
)
def test_wrong_path_is_exit_code_2(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A path that does not exist, or that Git does not have, is a mistake of the caller and is named."""
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_help_says_how_to_silence_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names the command, its argument and the mark."""
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m scripts.english [-h] [path ...]")
    assert "# english: ok" in text
