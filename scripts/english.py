"""Find English that slows a reader down: how docstrings open, idioms, and British spelling.

Python is read for its docstrings, comments and string literals; any other text file is read whole. Code between
backticks is never examined. Where a word is a fact, such as a name in an API, end its line with `# english: ok`.
The exit code is 1 if there is something to correct.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# This lint and its tests hold every word that it forbids.
OWN = ("scripts/english.py", "tests/unit/scripts/test_english.py")
SKIPPED = ("LICENSE", "CODE_OF_CONDUCT*", "requirements/*.txt", *OWN)
SILENCED = "# english: ok"

OPENING = re.compile(r"[\s\"'“*(]*(what|whether|where|whom|whose|who|which|how|why|when|that)(?![\w-])", re.IGNORECASE)
# A regular expression of whole words, and what to write instead, which may refer to its groups.
WORDINGS = {
    # Idioms
    "anew": "again",
    "beside": "next to; as well as",
    "becomes? of|became of": "happens to",
    "for ever": "forever; without end",
    "go(?:es|ing)? on|went on": "continue",
    # "is None" speaks of Python's value.
    "(?:is|are) (?-i:none)": "there is no …",
    # "looks at all the files" and "at all times" are literal.
    r"at all(?! (?:times|of|the|these|those)\b)": "any; or leave it out",
    "whatever": "any; everything that",
    "whoever|whichever": "anyone who; the one that",
    "nobody": "no one, or say who does not",
    "somebody": "someone, or say who",
    "may be ours": "say what it may belong to",
    "comes? again": "is retried; is delivered again",
    "to and fro": "back and forth",
    "of its own accord": "by itself",
    "likewise": "also; in the same way",
    "thereof|whereof|therein": "of it; of which; in it",
    "hereby": "leave it out",
    "whence|hence|thus": "from where; so",
    "lest": "so that … not",
    "save for": "except for",
    "anon": "soon",
    "nought": "nothing",
    "unto": "to",
    "ere": "before",
    # Spelling
    "((?:re|de|un|dis)?(?:organ|initial|normal|recogn|serial|real|author|custom|optim|minim|maxim|summar|synchron"
    "|capital|categor))is(e[ds]?|ers?|ing|ations?|able)": r"\1iz\2",
    "emphasis(e[ds]?|ing)": r"emphasiz\1",
    "analys(e[dr]?|ers|ing)": r"analyz\1",
    r"((?:un|dis|mis)?(?:col|behavi|fav|hon|neighb|lab))our(\w*)": r"\1or\2",
    "centre(s?)": r"center\1",
    "centred": "centered",
    "(lic|def|off)ence(s?)": r"\1ense\2",
    "catalogu(?:e[ds]?|ing)": "catalog",
    "((?:un|re)?(?:cancel|label|model|travel))l(ed|ing|ers?)": r"\1\2",
    "fulfil(s|ment)?": r"fulfill\1",
    "grey(s|ed|ish)?": r"gray\1",
    "artefact(s?)": r"artifact\1",
    "(whil|among)st": "while; among",
    "learnt|spelt": "learned; spelled",
    "(to|after)wards": r"\1ward",
}
# A phrase may continue on the next line, in a comment too.
PATTERNS = {re.compile(rf"(?:{words})\b".replace(" ", r"\s+"), re.IGNORECASE): WORDINGS[words] for words in WORDINGS}
# One search for all of them takes a fraction of the time of a search for each.
ANY = re.compile(rf"\b(?:{'|'.join(pattern.pattern for pattern in PATTERNS)})", re.IGNORECASE)
ESCAPE_OR_COMMENT_SIGN = re.compile(r"\\.|^[^\S\n]*(?:#+|//+|>)", re.MULTILINE)
QUOTES = re.compile(r"""^\w*['"]+|['"]+$""")
CODE_SPAN = re.compile(r"(`+)[^`\n]+\1")


class Finding(NamedTuple):
    """A place in a file, what is wrong with it, and what to write instead."""

    line: int
    wrong: str
    instead: str


def findings(source: str, *, python: bool) -> list[Finding]:
    """Return what is wrong with the text of one file, in the order of its lines."""
    try:
        found = [*_openings(source), *_wordings(_python_text(source))] if python else [*_wordings(source)]
    except SyntaxError as error:
        return [Finding(error.lineno or 1, f"not valid Python ({error.msg})", "what Python can parse")]
    lines = source.split("\n")
    return sorted(each for each in found if not lines[each.line - 1].rstrip().endswith(SILENCED))


def _openings(source: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(source)):
        match node:
            # A string that stands alone is a docstring: of a module, class, function or attribute.
            case ast.Expr(value=ast.Constant(value=str(text)), lineno=line) if opening := OPENING.match(text):
                line += text.count("\n", 0, opening.start(1))
                yield Finding(line, f'the docstring opens with "{opening[1]}"', 'a verb ("Return …") or a noun phrase')


def _wordings(text: str) -> Iterator[Finding]:
    text = ESCAPE_OR_COMMENT_SIGN.sub(_blank, text)
    text = CODE_SPAN.sub(lambda span: "\0" * len(span[0]), text)
    for place in ANY.finditer(text):
        matches = ((pattern.match(text, place.start()), instead) for pattern, instead in PATTERNS.items())
        found, instead = next((found, instead) for found, instead in matches if found)
        line = text.count("\n", 0, found.start()) + 1
        yield Finding(line, f'"{" ".join(found[0].split())}"', found.expand(instead))


def _python_text(source: str) -> str:
    """Return the comments and strings alone, each where it was, with a zero byte for every character of code."""
    text = list(re.sub(r"\S", "\0", source))
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begin, end = (starts[line - 1] + column for line, column in (token.start, token.end))
        if token.type in (tokenize.COMMENT, tokenize.FSTRING_MIDDLE):
            text[begin:end] = source[begin:end]
        elif token.type in (tokenize.STRING, tokenize.FSTRING_START, tokenize.FSTRING_END):
            text[begin:end] = QUOTES.sub(_blank, source[begin:end])
    return "".join(text)


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _files(paths: Sequence[str]) -> list[Path]:
    command = ["git", "--literal-pathspecs", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run([*command, *paths], check=True, capture_output=True, text=True).stdout
    files = sorted({Path(name) for name in listed.split("\0") if name})
    return [file for file in files if file.is_file() and not any(map(file.full_match, SKIPPED))]


def _read(file: Path) -> list[Finding]:
    try:
        source = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return []  # Not a text file
    return findings(source, python=file.suffix == ".py")


def _existing(path: str) -> str:
    if not Path(path).exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings in the files that Git knows or would add; return 1 if there are any."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.english", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=_existing, metavar="path", help="file or folder (default: all)")
    try:
        files = _files(parser.parse_args(arguments).paths)
    except subprocess.CalledProcessError as error:
        parser.error(error.stderr.strip())
    found = [(file, finding) for file in files for finding in _read(file)]
    for file, (line, wrong, instead) in found:
        print(f"{file}:{line}: {wrong}; write: {instead}")
    print(f"english: {len(files)} files, {len(found) or 'nothing'} to correct")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
