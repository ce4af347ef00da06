"""Hides passwords and keys in addresses and in texts that contain them."""

import os
import re
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN = "***"
_USER = re.compile(r"(\w[\w+.-]*://)[^/\s@'\"]*@")
_PARAMETER = re.compile(r"([?&][\w.-]*(?:secret|password|token|sig|key)=)[^&\s'\"]+", re.IGNORECASE)


def shown(text: str) -> str:
    """A text without the users, passwords and keys of the addresses in it."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def without_login(uri: str) -> str:
    """An HTTP address without user and password, which move to the variables that MLflow's client reads.

    So neither MLflow's own messages nor ours can repeat them.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
