"""`read_profile`: what the AWS command line's files say, as far as a server can use it."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cog_server.files.transfer import TransferError

_SSO = ("sso_session", "sso_start_url", "sso_account_id")


@dataclass(frozen=True)
class AwsProfile:
    """A profile of ~/.aws. `obstacle` says why its credentials cannot be used, if they are of a kind that cannot."""

    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    region: str = ""
    endpoint_url: str = ""
    role_arn: str = ""
    web_identity_token_file: str = ""
    obstacle: str = ""


def read_profile(environment: Mapping[str, str]) -> AwsProfile:
    """The profile that AWS_PROFILE names, or `default`; an empty one where there are no files.

    Raises TransferError if the profile that is named, or a file that is named, is not there.
    """
    named = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or ""
    name = named or "default"
    keys = _read(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")
    config = _read(environment, "AWS_CONFIG_FILE", "config")
    sections = [
        *(
            config[each]
            for each in (f"profile {name}", name)
            if each in config and each in ("default", f"profile {name}")
        ),
        *(keys[each] for each in (name,) if each in keys),
    ]
    if named and not sections:
        raise TransferError(
            f"AWS_PROFILE names the profile {named}, which is in neither ~/.aws/credentials nor ~/.aws/config"
        )
    # The credentials file wins, as everywhere.
    values = {key: value.strip() for section in sections for key, value in section.items()}
    return AwsProfile(
        access_key_id=values.get("aws_access_key_id", ""),
        secret_access_key=values.get("aws_secret_access_key", ""),
        session_token=values.get("aws_session_token", ""),
        region=values.get("region", ""),
        endpoint_url=values.get("endpoint_url", ""),
        role_arn=values.get("role_arn", ""),
        web_identity_token_file=values.get("web_identity_token_file", ""),
        obstacle=_obstacle(name, values),
    )


def _obstacle(name: str, values: Mapping[str, str]) -> str:
    if values.get("aws_access_key_id") or (values.get("role_arn") and values.get("web_identity_token_file")):
        return ""
    if any(values.get(each) for each in _SSO):
        way = "signs in with SSO"
    elif values.get("role_arn"):
        way = "assumes a role"
    elif values.get("credential_process"):
        way = "asks a program for its keys"
    else:
        return ""
    return (
        f"the AWS profile {name} {way}, which the server cannot do; give it keys instead:"
        f" aws configure export-credentials --profile {name} --format env"
    )


def _read(environment: Mapping[str, str], variable: str, file_name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, default_section="\0")
    home = environment.get("HOME", "")
    named = environment.get(variable, "")
    path = named or (os.path.join(home, ".aws", file_name) if home else "")
    if path.startswith("~/"):
        path = os.path.join(home, path[2:])
    if not path:
        return parser
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (FileNotFoundError, NotADirectoryError):
        # Both variables may name a file that is still to come; the credentials may then be elsewhere.
        pass
    except (OSError, UnicodeError, configparser.Error) as error:
        # Not the parser's own words: they quote the line, and the line may be a key.
        raise TransferError(f"the AWS {file_name} file cannot be read ({type(error).__name__})") from None
    return parser
