"""What the style test reads from C++ text: functions with their sizes, types, includes.

A brace counter, not a parser: it knows comments, literals, and what stands before a brace.
"""
import re

_TOKENS = re.compile(
    r'//[^\n]*|/\*.*?\*/'
    r'|R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)
_PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_LAUNCH_BOUNDS = re.compile(r"__launch_bounds__\((?:[^()]|\([^()]*\))*\)")
_CONTAINER = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")
_TYPE = re.compile(
    r"\b(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s+(?:alignas\([^)]*\)\s*)?"
    r"(?:\[\[\w+\]\]\s*)?(?:[A-Z_]{4,}(?:\([^)]*\))?\s+)?(\w+)\s*(?:final\s*)?[:{;]"
    r"|\busing\s+(\w+)\s*=|\bconcept\s+(\w+)\s*=")


def _blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def without_literals(text):
    """The text with comments and the insides of literals blanked, line by line the same."""

    def blank_literal(match):
        token = match[0]
        if token[0] == "/":
            return _blank(match)
        return '"' + re.sub(r"[^\n]", "_", token[1:-1]) + '"'

    return _TOKENS.sub(blank_literal, text)


def code_only(text):
    text = _LAUNCH_BOUNDS.sub(_blank, text)  # else its arguments pass for a kernel's parameters
    return _PREPROCESSOR.sub(_blank, without_literals(text))


def includes(text):
    """(line, path) of every include, project's and others'."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            found.append((number, match[1]))
    return found


def declared_types(text):
    names = []
    for match in _TYPE.finditer(code_only(text)):
        names.append(next(name for name in match.groups() if name))
    return names


def count_parameters(header):
    """Of the first parenthesised list in a function's header."""
    start = header.find("(")
    if "operator()" in header:
        start = header.find("(", header.find("operator()") + len("operator()"))
    depth, angle, commas, any_text = 0, 0, 0, False
    for character in header[start:]:
        if character in "([{":
            depth += 1
            continue
        if character in ")]}":
            depth -= 1
            if depth == 0:
                break
        angle += (character == "<") - (character == ">" and angle > 0)
        if depth == 1 and angle == 0 and character == ",":
            commas += 1
        any_text = any_text or not character.isspace()
    return commas + 1 if any_text else 0


def _name(header):
    before = header[:header.find("(")].rstrip()
    match = re.search(r"[\w:~]+$", before)
    return match[0] if match else before[-20:].strip()


def _kind(header):
    """Of the brace that follows: 'container', 'function' or 'other'."""
    outside = re.sub(r"\btemplate\s*<[^{}]*?>\s*(?=\b(?:class|struct|union|concept)\b)", "", header)
    parens = outside.find("(")
    if _CONTAINER.search(outside if parens < 0 else outside[:parens]) and not re.search(
            r"\)\s*(?:const|noexcept|override|final|->.*)*\s*$", outside):
        return "container"
    if parens < 0 and "namespace" in outside:
        return "container"
    return "function" if parens >= 0 else "other"


def functions(text):
    """Yields (name, first line, last line, parameters) of every function body outside another."""
    code = code_only(text)
    stack = []  # kinds of open braces
    header_start, line = 0, 1
    function = None
    for at, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character == "{":
            header = code[header_start:at]
            kind = "inner" if function else _kind(header)
            if kind == "function":
                lead = len(header) - len(header.lstrip())
                begin = line - header[lead:].count("\n")
                function = (_name(header), begin, count_parameters(header), header_start)
            stack.append(kind)
            if kind == "container":
                header_start = at + 1
        elif character == "}":
            kind = stack.pop() if stack else "other"
            if kind == "function":
                name, begin, parameters, start = function
                function = None
                following = code[at + 1:].lstrip()[:1]
                if following and following in ",{).":  # an initialiser, not the body
                    header_start = start
                    continue
                yield name, begin, line, parameters
            if kind in ("function", "container"):
                header_start = at + 1
        elif character == ";" and not function and "other" not in stack:
            header_start = at + 1
