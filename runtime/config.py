"""Where things lie, and what the user set: flags, then environment, then ``config.toml``."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from models.errors import UsageError
from runtime.core import Privacy
from runtime.policy import Policy

KEYRING_SERVICE = "aidecamp"


def data_dir() -> Path:
    """Where ledger, models and locks lie: ``AIDECAMP_HOME``, else the platform's data folder."""
    home = os.environ.get("AIDECAMP_HOME")
    return Path(home) if home else Path(platformdirs.user_data_dir("aidecamp"))


def config_file() -> Path:
    """``config.toml``: under ``AIDECAMP_HOME`` where that is set, else in the user's config."""
    home = os.environ.get("AIDECAMP_HOME")
    folder = Path(home) if home else Path(platformdirs.user_config_dir("aidecamp"))
    return folder / "config.toml"


class Price(BaseModel):
    """US dollars for a million tokens, as the vendor listed them on ``as_of``."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    as_of: str


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


class Config(BaseSettings):
    """Everything a user may set. Environment names: ``AIDECAMP_PRIVACY``,
    ``AIDECAMP_GENERAL__BASE_URL``, ``AIDECAMP_GENERAL__MODEL``, …"""

    model_config = SettingsConfigDict(env_prefix="AIDECAMP_", env_nested_delimiter="__")

    privacy: Privacy = "ask"
    general: GeneralConfig = GeneralConfig()
    prices: dict[str, Price] = DEFAULT_PRICES
    policy: dict[str, Any] = {}

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
        return Policy.from_table(self.policy)

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


def general_key(config: Config) -> str:
    """The General's API key: configuration, ``OPENAI_API_KEY``, then the keyring; may be empty."""
    if config.general.api_key:
        return config.general.api_key
    if key := os.environ.get("OPENAI_API_KEY"):
        return key
    import keyring
    import keyring.errors

    try:
        return keyring.get_password(KEYRING_SERVICE, config.general.base_url) or ""
    except keyring.errors.KeyringError:
        return ""
