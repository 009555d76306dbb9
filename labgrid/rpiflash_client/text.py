"""Texts that a target, a bench server or ssh said, made safe for a terminal."""


def sanitized(text: str) -> str:
    """One line: control characters and the like are shown as \\x1b."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def last_line(text: bytes) -> str:
    """The last line that is not empty, sanitized; empty where there is none."""
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    return sanitized(lines[-1].strip()) if lines else ""
