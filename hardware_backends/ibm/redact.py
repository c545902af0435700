"""Keep secrets out of what is shown and written."""

from __future__ import annotations

import re

_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"),
    re.compile(r"(?i)\b(api[-_]?key|token|authorization|password|secret)\b(['\"]?\s*[:=]\s*)\S+"),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # a JSON web token
    re.compile(r"(?<![\w:/-])[A-Za-z0-9_-]{44}(?![\w:/-])"),  # a key of the IBM Cloud
    re.compile(r"(?<![\w-])[0-9a-f]{128}(?![\w-])"),  # a token of the earlier IBM Quantum
)


def redact(text: str) -> str:
    """The text on one line, without anything that looks like a token.

    Example:
        >>> redact("401 for url ..., Authorization: Bearer abc.def")
        '401 for url ..., [secret]'
    """
    for secret in _SECRETS:
        text = secret.sub("[secret]", text)
    return " ".join(re.sub(r"(\[secret\]\s*)+", "[secret] ", text).split())
