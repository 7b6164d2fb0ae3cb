"""The savings report of a ledger, put together: prices, scenario, figures.

Shared by ``aidecamp savings`` and the daemon; ``runtime.savings`` and ``runtime.whatif`` do the
sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import UsageError
from runtime import whatif
from runtime.config import Config
from runtime.core import Event
from runtime.report import Figure
from runtime.savings import Savings, savings, steps_of

NOTHING = 'No model call yet. Try: aidecamp run "how much memory is free?"'


@dataclass(frozen=True, slots=True)
class Wish:
    """What the report is to compare with: a price list entry, and a scenario. Checked."""

    config: Config
    model: str
    scenario: whatif.Scenario | None

    @staticmethod
    def of(config: Config, model: str | None, what_if: Sequence[str]) -> Wish:
        """Raises UsageError on a model without a price, or a scenario that makes no sense."""
        if model is not None and config.price(model) is None:
            raise UsageError(
                f"No price is known for {model!r}.",
                hint=f"Known: {', '.join(sorted(config.prices))}; add yours under [prices].",
            )
        scenario = whatif.read(what_if, lambda entry: price_of(config, entry)) if what_if else None
        return Wish(config, model or config.general.model, scenario)


@dataclass(frozen=True, slots=True)
class Report:
    """The figures, and the scenario's where one was wished for."""

    config: Config
    savings: Savings
    simulated: whatif.Simulated | None

    def to_json(self) -> dict[str, Any]:
        price = self.config.price(self.savings.model)
        everything = self.savings.cost.all_general.value
        saved = None if everything is None else everything - self.savings.totals.cost_usd
        named = {"model": self.savings.model, **price.model_dump()} if price is not None else None
        return {
            **self.savings.to_json(),
            "all_general_usd_estimated": everything,
            "saved_usd_estimated": saved,
            "price": named,
            "what_if": self.simulated.to_json() if self.simulated is not None else None,
        }


def report(wish: Wish, events: Sequence[Event], watts: Figure) -> Report:
    """The report on ``events``. ``watts``: of this machine while models run.

    Raises UsageError where a scenario is wished for and no model was called yet.
    """
    config, name = wish.config, wish.model
    price = config.price(name)
    figures = savings(
        events,
        model=name,
        price=price_of(config, name),
        price_source=f"list price of {price.as_of}" if price is not None else "",
        watts=watts,
    )
    simulated = None
    if wish.scenario is not None:
        if not figures.totals.calls:
            raise UsageError("The ledger holds no model call yet.", hint=NOTHING)
        simulated = whatif.simulate(
            steps_of(events),
            wish.scenario,
            price=price_of(config, name),
            price_name=name,
            watts=watts,
        )
    return Report(config, figures, simulated)


def price_of(config: Config, name: str) -> tuple[float, float] | None:
    """US dollars per million tokens in and out; None where no price is known."""
    price = config.price(name)
    return (price.input, price.output) if price is not None else None
