"""`settle_store`: how a bucket is reached and with what credentials, by each cloud's own settings.

obstore would read the process's environment itself. What is decided here is passed to it in full, so that it wins:
the endpoint always, static credentials as a provider of ours, "none" as an unsigned store. What is not about endpoints
and credentials (server-side encryption, who pays) is left to obstore and its variables.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cog_server.files.clouds.aws_profile import AwsProfile, read_profile
from cog_server.files.clouds.urls import CloudLocation, Kind
from cog_server.files.transfer import TransferError

_EMULATED_ACCOUNT = "devstoreaccount1"
# Known to all, in Microsoft's documentation: the emulator's.
_EMULATED_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATED_ENDPOINT = f"http://127.0.0.1:10000/{_EMULATED_ACCOUNT}"
_PUBLIC_SUFFIX = "core.windows.net"


@dataclass(frozen=True)
class StoreSettings:
    """Options for obstore, by its names.

    `credentials` are static ones, to be handed out by a provider; None where obstore gets them by `options`.
    """

    options: Mapping[str, str | bool] = field(repr=False)
    credentials: Mapping[str, str] | None = field(repr=False)
    endpoint: str
    is_anonymous: bool = False
    can_sign: bool = True

    @property
    def allows_http(self) -> bool:
        """Whether the operator's own endpoint is without TLS."""
        return self.endpoint.lower().startswith("http://")


def settle_store(location: CloudLocation, environment: Mapping[str, str], *, machine: Kind | None) -> StoreSettings:
    """Settle how to reach the bucket of `location`. `machine` is the cloud whose machine this is.

    Without credentials: the machine's role where the machine is one of that cloud, otherwise none at all, and nobody is
    asked. Raises TransferError for settings that contradict each other or that the server does not know.
    """
    if location.kind == "s3":
        return _settle_s3(environment, machine)
    if location.kind == "gcs":
        return _settle_gcs(environment, machine)
    return _settle_azure(location, environment, machine)


def _settle_s3(environment: Mapping[str, str], machine: Kind | None) -> StoreSettings:
    profile = read_profile(environment)
    region = _first(environment, "AWS_REGION", "AWS_DEFAULT_REGION") or profile.region or "us-east-1"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = _endpoint(
        _first(environment, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        or profile.endpoint_url
        or f"https://s3.{region}.{suffix}"
    )
    options: dict[str, str | bool] = {
        "region": region,
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": False,
        # One request for one object: not every store that speaks S3 knows the bulk one.
        "disable_bulk_delete": True,
    }
    if _is_yes(environment, "AWS_SKIP_SIGNATURE"):
        return _anonymous(options, endpoint)
    credentials = _static_s3(environment, profile)
    if credentials is not None:
        return StoreSettings({**options, "skip_signature": False}, credentials, endpoint)
    role = _s3_role(environment, profile)
    if role is None and (machine != "s3" or _is_yes(environment, "AWS_EC2_METADATA_DISABLED")):
        return _anonymous(options, endpoint)
    if "AWS_ACCESS_KEY_ID" in environment or "AWS_SECRET_ACCESS_KEY" in environment:
        # obstore would sign with the empty key rather than ask for the role.
        raise TransferError("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is set, but empty: unset it")
    return StoreSettings({**options, **(role or {}), "skip_signature": False}, None, endpoint)


def _static_s3(environment: Mapping[str, str], profile: AwsProfile) -> Mapping[str, str] | None:
    key = _first(environment, "AWS_ACCESS_KEY_ID")
    secret = _first(environment, "AWS_SECRET_ACCESS_KEY")
    token = _first(environment, "AWS_SESSION_TOKEN")
    where = "the environment"
    if not key and not secret:
        if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
            return None
        if profile.obstacle:
            raise TransferError(profile.obstacle)
        key, secret, token = profile.access_key_id, profile.secret_access_key, profile.session_token
        where = "the AWS profile"
    if not key and not secret:
        return None
    if not key or not secret:
        raise TransferError(f"{where} has one half of an AWS key: it takes the access key id and the secret access key")
    return {"access_key_id": key, "secret_access_key": secret, **({"token": token} if token else {})}


def _s3_role(environment: Mapping[str, str], profile: AwsProfile) -> dict[str, str | bool] | None:
    for token_file, arn in (
        (environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"), environment.get("AWS_ROLE_ARN")),
        (profile.web_identity_token_file, profile.role_arn),
    ):
        if token_file and arn:
            session = environment.get("AWS_ROLE_SESSION_NAME") or "cog-server"
            return {"web_identity_token_file": token_file, "role_arn": arn, "role_session_name": session}
    relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if relative:
        return {"container_credentials_relative_uri": relative}
    full = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not full:
        return None
    token_file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if not token_file:
        # obstore would pass over it and ask the machine.
        raise TransferError("AWS_CONTAINER_CREDENTIALS_FULL_URI needs AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE beside it")
    return {"container_credentials_full_uri": full, "container_authorization_token_file": token_file}


def _settle_gcs(environment: Mapping[str, str], machine: Kind | None) -> StoreSettings:
    emulator = _first(environment, "STORAGE_EMULATOR_HOST")
    if emulator:
        endpoint = _endpoint(emulator if "://" in emulator else f"http://{emulator}")
        return _anonymous({"base_url": endpoint}, endpoint)
    base_url = _endpoint(_first(environment, "GOOGLE_BASE_URL"))
    options: dict[str, str | bool] = {"base_url": base_url} if base_url else {}
    endpoint = base_url or "https://storage.googleapis.com"
    if _is_yes(environment, "GOOGLE_SKIP_SIGNATURE"):
        return _anonymous(options, endpoint)
    token = _first(environment, "GOOGLE_BEARER_TOKEN")
    if token:
        return StoreSettings({**options, "skip_signature": False}, {"token": token}, endpoint, can_sign=False)
    found = _google_account(environment)
    if found is None:
        if machine != "gcs" and not _first(environment, "K_SERVICE", "CLOUD_RUN_JOB"):
            return _anonymous(options, endpoint)
        return StoreSettings({**options, "skip_signature": False}, None, endpoint)
    account, own_base_url = found
    return StoreSettings({**options, **account, "skip_signature": False}, None, base_url or own_base_url or endpoint)


def _google_account(environment: Mapping[str, str]) -> tuple[dict[str, str | bool], str] | None:
    """The account as an option of obstore's, and the endpoint that it names for itself, if any."""
    text = _first(environment, "GOOGLE_SERVICE_ACCOUNT_KEY")
    if text:
        return {"service_account_key": text}, _google_base_url(text, "GOOGLE_SERVICE_ACCOUNT_KEY", ("service_account",))
    path = _first(environment, "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")
    if path:
        text = _read_account(path, "GOOGLE_SERVICE_ACCOUNT")
        return {"service_account": path}, _google_base_url(text, "GOOGLE_SERVICE_ACCOUNT", ("service_account",))
    path = _first(environment, "GOOGLE_APPLICATION_CREDENTIALS")
    source = "GOOGLE_APPLICATION_CREDENTIALS"
    if not path:
        home = environment.get("HOME", "")
        folder = environment.get("CLOUDSDK_CONFIG") or (os.path.join(home, ".config", "gcloud") if home else "")
        path = os.path.join(folder, "application_default_credentials.json") if folder else ""
        source = "gcloud's default file"
        if not os.path.exists(path):
            return None
    text = _read_account(path, source)
    base_url = _google_base_url(text, source, ("service_account", "authorized_user"))
    # By the first name where it will do: only then does obstore heed what the file says about endpoints.
    is_user = '"authorized_user"' in text
    return {"application_credentials" if is_user else "service_account": path}, base_url


def _read_account(path: str, source: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
        raise TransferError(f"the file of {source} cannot be read: {reason}") from None


def _google_base_url(text: str, source: str, known: tuple[str, ...]) -> str:
    try:
        account = json.loads(text)
    except ValueError:
        account = None
    if not isinstance(account, dict):
        raise TransferError(f"{source} is not the JSON of a Google account") from None
    kind = account.get("type", "service_account")
    if kind not in known:
        # Federated and impersonated ones: obstore knows none of them.
        name = kind if isinstance(kind, str) and kind.replace("_", "").isalpha() else "unknown"
        raise TransferError(f"{source} is an account of the kind {name}; the server knows {' and '.join(known)}")
    return str(account.get("gcs_base_url") or "")


def _settle_azure(location: CloudLocation, environment: Mapping[str, str], machine: Kind | None) -> StoreSettings:
    own = _read_azure_account(environment)
    account = location.account or own.name
    if not account:
        raise TransferError(
            f"{location.place}: which account? Set AZURE_STORAGE_ACCOUNT_NAME,"
            " or write abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/…"
        )
    is_own = account == own.name
    endpoint = own.endpoint if is_own and own.endpoint else f"https://{account}.blob.{_PUBLIC_SUFFIX}"
    options: dict[str, str | bool] = {
        "account_name": account,
        "endpoint": endpoint,
        "use_emulator": False,
        "use_fabric_endpoint": False,
    }
    if _is_yes(environment, "AZURE_SKIP_SIGNATURE"):
        return _anonymous(options, endpoint)
    if own.key or own.sas:
        # A key belongs to an account. To another, which whoever wrote the URL may own, goes nothing.
        if not is_own:
            return _anonymous(options, endpoint)
        credentials = {"access_key": own.key} if own.key else {"sas_token": own.sas}
        return StoreSettings({**options, "skip_signature": False}, credentials, endpoint, can_sign=bool(own.key))
    token = _first(environment, "AZURE_STORAGE_TOKEN")
    if token:
        if not is_own:
            return _anonymous(options, endpoint)
        return StoreSettings({**options, "skip_signature": False}, {"token": token}, endpoint)
    identity = _azure_identity(environment, machine)
    if identity is None:
        return _anonymous(options, endpoint)
    return StoreSettings({**options, **identity, "skip_signature": False}, None, endpoint)


@dataclass(frozen=True)
class _AzureAccount:
    name: str
    key: str = field(repr=False)
    sas: str = field(repr=False)
    endpoint: str


def _read_azure_account(environment: Mapping[str, str]) -> _AzureAccount:
    text = _first(environment, "AZURE_STORAGE_CONNECTION_STRING")
    if text:
        return _checked(_from_connection_string(text))
    if _is_yes(environment, "AZURE_STORAGE_USE_EMULATOR"):
        return _AzureAccount(_EMULATED_ACCOUNT, _EMULATED_KEY, "", _EMULATED_ENDPOINT)
    return _checked(
        _AzureAccount(
            name=_first(environment, "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
            key=_first(
                environment,
                *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY"),
                "AZURE_STORAGE_MASTER_KEY",
            ),
            sas=_first(environment, "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
            endpoint=_endpoint(
                _first(environment, "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_SERVICE_ENDPOINT")
            ),
        )
    )


def _from_connection_string(text: str) -> _AzureAccount:
    given = {}
    for item in filter(None, (each.strip() for each in text.split(";"))):
        name, equals, value = item.partition("=")
        if not equals:
            raise TransferError("AZURE_STORAGE_CONNECTION_STRING is not a list of NAME=VALUE with ; between them")
        given[name.strip().lower()] = value.strip()
    if given.get("usedevelopmentstorage", "").lower() == "true":
        return _AzureAccount(_EMULATED_ACCOUNT, _EMULATED_KEY, "", _EMULATED_ENDPOINT)
    name = given.get("accountname", "")
    endpoint = given.get("blobendpoint", "")
    if endpoint and not name:
        # As the portal writes them with a signature alone.
        name = endpoint.partition("://")[2].partition(".")[0]
    elif name and not endpoint:
        protocol = given.get("defaultendpointsprotocol") or "https"
        endpoint = f"{protocol}://{name}.blob.{given.get('endpointsuffix') or _PUBLIC_SUFFIX}"
    if not name:
        raise TransferError("AZURE_STORAGE_CONNECTION_STRING names no account")
    return _AzureAccount(name, given.get("accountkey", ""), given.get("sharedaccesssignature", ""), _endpoint(endpoint))


def _checked(account: _AzureAccount) -> _AzureAccount:
    try:
        base64.b64decode(account.key, validate=True)
    except (binascii.Error, ValueError):
        raise TransferError("the key of the Azure account is not valid base64") from None
    return _AzureAccount(account.name, account.key, account.sas.removeprefix("?"), account.endpoint)


def _azure_identity(environment: Mapping[str, str], machine: Kind | None) -> dict[str, str | bool] | None:
    client = _first(environment, "AZURE_STORAGE_CLIENT_ID", "AZURE_CLIENT_ID")
    tenant = _first(environment, "AZURE_STORAGE_TENANT_ID", "AZURE_TENANT_ID")
    secret = _first(environment, "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET")
    if client and tenant and secret:
        return {"client_id": client, "tenant_id": tenant, "client_secret": secret}
    token_file = _first(environment, "AZURE_FEDERATED_TOKEN_FILE")
    if client and tenant and token_file:
        return {"client_id": client, "tenant_id": tenant, "federated_token_file": token_file}
    if _is_yes(environment, "AZURE_USE_AZURE_CLI"):
        return {"use_azure_cli": True}
    named = {"client_id": client} if client else {}
    asked = _first(environment, "AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "IDENTITY_ENDPOINT")
    if asked:
        return {"msi_endpoint": asked, **named}
    return dict(named) if machine == "azure" else None


def _anonymous(options: Mapping[str, str | bool], endpoint: str) -> StoreSettings:
    # With credentials, though they say nothing: obstore then looks for no others. Google's are asked for nevertheless.
    options = {**options, "skip_signature": True}
    return StoreSettings(options, {"token": ""}, endpoint, is_anonymous=True, can_sign=False)


def _endpoint(url: str) -> str:
    if url and not url.lower().startswith(("http://", "https://")):
        raise TransferError("the endpoint that is set for the store does not begin with http:// or https://")
    return url.rstrip("/")


def _first(environment: Mapping[str, str], *names: str) -> str:
    # Without the line's end that files of secrets leave: in a header it would be an error of another kind.
    return next((environment[name].strip() for name in names if environment.get(name, "").strip()), "")


def _is_yes(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").strip().lower() in ("1", "true", "yes", "on")
