"""Where things lie, and what the user set: flags, then environment, then ``config.toml``."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from models.errors import UsageError
from models.retry import Patience
from runtime.core import Privacy, Risk
from runtime.policy import RISK_ALPHA, Policy, with_settings

KEYRING_SERVICE = "aidecamp"
DAEMON_PORT = 24332
PATIENCE = Patience()


def data_dir() -> Path:
    """Where ledger, models and locks lie: ``AIDECAMP_HOME``, else the platform's data folder."""
    home = os.environ.get("AIDECAMP_HOME")
    return Path(home) if home else Path(platformdirs.user_data_dir("aidecamp"))


def config_file() -> Path:
    """``config.toml``: under ``AIDECAMP_HOME`` where that is set, else in the user's config."""
    home = os.environ.get("AIDECAMP_HOME")
    folder = Path(home) if home else Path(platformdirs.user_config_dir("aidecamp"))
    return folder / "config.toml"


def policy_file() -> Path:
    """``policy.toml``, beside ``config.toml``."""
    return config_file().with_name("policy.toml")


class Price(BaseModel):
    """US dollars for a million tokens, as the vendor listed them on ``as_of``."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    as_of: str

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


DEFAULT_PRICES = {
    # OpenAI's public price list, standard tier, as it was read on the date beside it.
    "gpt-5.4": Price(input=2.50, output=15.00, as_of="2026-05-04"),
    "gpt-5.4-mini": Price(input=0.75, output=4.50, as_of="2026-05-04"),
}


class GeneralConfig(BaseModel):
    """The remote LLM: anything that speaks OpenAI's chat completions."""

    base_url: str = ""
    """Empty: no General, and nothing can leave the machine."""
    model: str = "gpt-5.4"
    api_key: str = ""
    """Empty: ``OPENAI_API_KEY``, then the keyring."""
    name: str = ""
    """What it is called in the record; empty: its model."""
    timeout_s: float | None = Field(default=None, gt=0)
    """For one call, retries included; None: ``general_timeout_s`` of the policy, which also
    bounds all Generals asked for one step together."""
    connect_timeout_s: float = Field(default=PATIENCE.connect_timeout_s, gt=0)
    first_token_timeout_s: float = Field(default=PATIENCE.first_token_timeout_s, gt=0)
    """While streaming: until the first of an answer."""
    attempts: int = Field(default=PATIENCE.attempts, ge=1)


class DaemonConfig(BaseModel):
    """Where the daemon listens, whom it lets in, and how much it takes."""

    model_config = ConfigDict(extra="forbid")

    tcp: bool = True
    """Listen on TCP too; the Unix socket is always there."""
    host: str = "127.0.0.1"
    """Beyond loopback only with ``tls_cert`` and ``tls_key``."""
    port: int = Field(default=DAEMON_PORT, ge=0, le=65535)
    """0: any that is free; ``aidecamp daemon status`` tells which."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: list[str] = []
    """Names by which clients may address it, besides its own."""
    cors_origins: list[str] = []
    """Web pages that may call it, such as ``https://app.example``; none by default."""
    tokens_in: Literal["file", "keyring"] = "file"
    max_body_bytes: int = Field(default=8_000_000, ge=1_000)
    max_depth: int = Field(default=64, ge=8, le=500)
    """Nesting of a JSON body; Python's own reader stops near 1,000."""
    body_timeout_s: float = Field(default=10.0, gt=0)
    """Until the whole body has come."""
    deadline_s: float = Field(default=120.0, gt=0)
    """For one proxied call, waiting included."""
    parallel: int = Field(default=8, ge=1)
    """Proxied calls that local models work on at once."""
    queue: int = Field(default=256, ge=0)
    """Proxied calls that may wait; more get 429."""


class RecordConfig(BaseModel):
    """What the ledger keeps, and for how long."""

    model_config = ConfigDict(extra="forbid")

    retention_days: float | None = Field(default=90.0, gt=0)
    """Tasks that ended longer ago are removed; None: never."""
    max_mb: int = Field(default=2_048, ge=16)
    """The oldest tasks are removed where the ledger is larger."""
    opt_out: list[str] = []
    """Clients of which only numbers are recorded, and no words."""


class McpServerConfig(BaseModel):
    """An MCP server whose tools the Tool User may use: a ``command`` (stdio) or a ``url``."""

    model_config = ConfigDict(extra="forbid")

    command: list[str] = []
    url: str = ""
    env: dict[str, str] = {}
    risk: dict[str, Risk] = {}
    """By tool name; a tool that is not named here is ``sensitive``."""
    allow: list[str] = []
    """The only tools on offer; empty: all."""
    timeout_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("an MCP server has either a command or a url")
        return self


class Config(BaseSettings):
    """Everything a user may set. Environment names: ``AIDECAMP_PRIVACY``,
    ``AIDECAMP_GENERAL__BASE_URL``, ``AIDECAMP_GENERAL__MODEL``, …"""

    model_config = SettingsConfigDict(env_prefix="AIDECAMP_", env_nested_delimiter="__")

    privacy: Privacy = "ask"
    general: GeneralConfig = GeneralConfig()
    generals: list[GeneralConfig] = []
    """More of them, in order of preference: each is asked when those before it fail."""
    record_sent: Literal["body", "digest"] = "digest"
    """What the record keeps of a request that left: its body byte for byte, or its SHA-256."""
    prices: dict[str, Price] = DEFAULT_PRICES
    policy: dict[str, Any] = {}
    daemon: DaemonConfig = DaemonConfig()
    record: RecordConfig = RecordConfig()
    mcp: dict[str, McpServerConfig] = {}
    """MCP servers by name."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, config_file()),
        )

    def make_policy(self) -> Policy:
        """The policy in force: the defaults, ``[policy]`` of ``config.toml``, and ``policy.toml``
        on top. Raises UsageError on what cannot be read."""
        from runtime.policy_file import read

        policy, file = self.base_policy(), policy_file()
        return read(file, policy) if file.is_file() else policy

    def base_policy(self) -> Policy:
        """The defaults and ``[policy]`` of ``config.toml``, without ``policy.toml``."""
        base = Policy(risk_alpha=RISK_ALPHA)
        return with_settings(base, self.policy, where="config.toml: [policy]")

    def asking(self, url: str) -> Config:
        """This configuration with the General at ``url`` and no other. A key that was set for a
        General elsewhere is not shown to this one."""
        elsewhere = self.general.base_url and (
            urlsplit(self.general.base_url).netloc != urlsplit(url).netloc
        )
        changes = {"base_url": url, **({"api_key": ""} if elsewhere else {})}
        general = self.general.model_copy(update=changes)
        return self.model_copy(update={"general": general, "generals": []})

    def line_up(self) -> tuple[GeneralConfig, ...]:
        """The Generals that have a URL, in the order in which they are asked."""
        return tuple(g for g in (self.general, *self.generals) if g.base_url)

    def price(self, model: str) -> Price | None:
        """The listed price of ``model``; None where none is known."""
        return self.prices.get(model) or DEFAULT_PRICES.get(model)


def load_config(**flags: Any) -> Config:
    """The configuration with ``flags`` on top (those that are not None).

    Raises UsageError on a config.toml that cannot be read, or a value that does not fit.
    """
    try:
        return Config(**{k: v for k, v in flags.items() if v is not None})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{config_file()} is not valid TOML: {error}.", hint="Mend or remove the file."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"Setting {where!r}: {first['msg']}.",
            hint=f"It is read from flags, AIDECAMP_… variables and {config_file()}.",
        ) from error


def general_key(general: GeneralConfig, *, shared: bool = True) -> str:
    """A General's API key: configuration, ``OPENAI_API_KEY``, then the keyring; may be empty.

    ``shared`` False: ``OPENAI_API_KEY`` goes to OpenAI itself alone, so that of several vendors
    none is shown another's key.
    """
    if general.api_key:
        return general.api_key
    host = urlsplit(general.base_url).hostname or ""
    key = os.environ.get("OPENAI_API_KEY")
    if key and (shared or host == "api.openai.com"):
        return key
    import keyring
    import keyring.errors

    try:
        return keyring.get_password(KEYRING_SERVICE, general.base_url) or ""
    except keyring.errors.KeyringError:
        return ""
