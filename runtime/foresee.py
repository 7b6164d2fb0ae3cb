"""The Decision alone: who would serve a step, and why, with nothing executed.

As ``run`` would decide with somebody at the terminal, and as if there were a General.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from models.digest import file_digest
from models.pool import GENERATOR, Pool
from runtime.budgets import Amount, Spending
from runtime.calibration import family
from runtime.config import Config
from runtime.core import Decision, Step, Task, new_id
from runtime.decisions import decide, verdict
from runtime.explain import flip
from runtime.given import Given
from runtime.keeping import weighed
from runtime.outcomes import History
from runtime.policy import Policy
from runtime.router import Router
from runtime.team import build_general
from runtime.trust import Trust, digests_of, signals_of


def foresee(
    task: Task,
    config: Config,
    policy: Policy,
    pool: Pool,
    router: Router,
    *,
    trust: Trust,
    history: Callable[[], History],
    spending: Spending,
) -> Decision:
    """The decision on ``task`` as one step. Raises ModelMissing, ModelCorrupt, StorageFailed."""
    kind, _, _ = router.classify(task.text, task.surface)
    general = next((g.model for g in config.line_up()), None)
    step = Step(new_id("step"), task.id, 1, kind, task.text)
    scored = router.route(task, step, policy, general=general)
    given = Given(
        kinds=(kind,),
        score_rule=scored.rule,
        score_local=scored.chosen.startswith("local:"),
        score_reason=scored.reason,
        privacy=task.privacy,
        general=True,
        person=True,
    )
    models = digests_of(pool.encoder().model, file_digest(pool.store.file(GENERATOR, "model")))
    family_ = family(task, step)
    judged = trust.before(family_, models, signals_of(task, scored))
    if judged is not None:
        scored, given = weighed(scored, given, judged, history().general(family_), models)
    if policy.budgets and verdict(scored, task, given, policy).wanted:
        remote = build_general(config, policy, pool)
        preview = remote.preview(remote.messages(task, step))
        tokens = preview["tokens_in_estimated"] + preview["tokens_out_at_most"]
        worst = Amount(preview["usd_at_most_estimated"], tokens, policy.general_timeout_s)
        spent = {"task": Amount(), **spending.spent(time.time())}
        given = replace(given, spent=spent, worst=worst)
        scored = replace(scored, would_send=preview)
    made = decide(scored, task, given, policy)
    return replace(made, flip=flip(scored, task, given, policy))
