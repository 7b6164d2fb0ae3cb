"""The ledger's tables in SQL: the record, and what is derived from it.

``events`` is the record. Everything else is derived from it by triggers, in the transaction that
adds the event, so that questions about a million rows are answered from an index: which tasks
there are and when they ended (``tasks``), which decisions were made (``decisions``), in which
tasks something ended other than well (``endings``), what the General took (``spending``), and
which calls of it were announced and never recorded (``announced``).
"""
# ruff: noqa: S608 - SQL is put together from fixed text alone

from __future__ import annotations

FIRST = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        task_id TEXT NOT NULL,
        type TEXT NOT NULL,
        record TEXT NOT NULL CHECK (json_valid(record))
    )
    """,
    "CREATE INDEX events_by_task ON events (task_id, id)",
    "CREATE INDEX events_by_type ON events (type, id)",
    "CREATE INDEX events_by_record ON events (json_extract(record, '$.id'))",
)

TOLD = "type = 'judgement' OR (type = 'outcome' AND json_extract(record, '$.status') = 'failed')"
"""Events that tell whether an answer was right. SQLite uses an index for a condition only where
both are written alike."""
QUARTER_S = 900
"""Spending is summed by the quarter of an hour: midnight is a multiple of it in every time zone."""

_TASK = """
    INSERT OR IGNORE INTO tasks (id, event_id, at, client, session)
    {source} coalesce(json_extract({row}record, '$.client'), ''),
        coalesce(json_extract({row}record, '$.session'), ''){tail}
"""
_DECISION = """
    INSERT INTO decisions (id, task_id, kind, chosen, client, session)
    SELECT e.id, e.task_id, coalesce(json_extract(e.record, '$.kind'), ''),
        coalesce(json_extract(e.record, '$.chosen'), ''),
        coalesce(t.client, ''), coalesce(t.session, '')
    FROM events AS e LEFT JOIN tasks AS t ON t.id = e.task_id WHERE e.type = 'decision'
"""
_RESULT_WORD = "json_extract({row}record, '$.status')"
_BEFORE_WORD = """
    CASE
        WHEN json_extract({row}record, '$.previous') IS NULL THEN NULL
        WHEN json_extract({row}record, '$.chosen') = 'general' THEN 'escalated'
        WHEN json_extract({row}record, '$.chosen') GLOB 'local:*'
            AND json_extract({row}record, '$.rule') GLOB 'accept:*'
            AND json_extract({row}record, '$.would_send') IS NULL THEN 'kept'
        ELSE 'overruled'
    END
"""
"""What a decision makes of the one before it on its step (``runtime.core.Decision.keeps``)."""
_DECLINED_WORD = "CASE json_extract({row}record, '$.chosen') WHEN 'declined' THEN 'declined' END"
_GATE_WORD = """
    CASE
        WHEN json_extract({row}record, '$.verdict') = 'allow' THEN NULL
        WHEN json_extract({row}record, '$.by') = 'dry-run' THEN 'skipped'
        ELSE 'denied'
    END
"""
_NOTE = "INSERT OR IGNORE INTO endings (word, task_id)"
_NOT_DONE = "WHERE word IS NOT NULL AND word <> 'done'"
_WORDS = (
    ("result", _RESULT_WORD),
    ("outcome", _RESULT_WORD),
    ("gate", _GATE_WORD),
    ("decision", _BEFORE_WORD),
    ("decision", _DECLINED_WORD),
)


_SPENT = """
    CAST({row}at / {quarter} AS INTEGER) * {quarter} AS at,
    json_extract({row}record, '$.cost_usd') AS usd,
    json_extract({row}record, '$.tokens_in') + json_extract({row}record, '$.tokens_out') AS tokens,
    json_extract({row}record, '$.decode_ms') + json_extract({row}record, '$.prefill_ms')
        + json_extract({row}record, '$.queue_ms') AS ms
"""
_SPEND = """
    INSERT INTO spending (at, usd, tokens, ms, unpriced)
    SELECT at, coalesce(sum(usd), 0), coalesce(sum(tokens), 0), coalesce(sum(ms), 0),
        count(*) FILTER (WHERE usd IS NULL)
    FROM ({calls}) WHERE true GROUP BY at
    ON CONFLICT (at) DO UPDATE SET usd = usd + excluded.usd, tokens = tokens + excluded.tokens,
        ms = ms + excluded.ms, unpriced = unpriced + excluded.unpriced
"""
_ANNOUNCE = """
    INSERT INTO announced (decision_id, event_id, task_id, at, usd, tokens, ms)
    SELECT json_extract(record, '$.id'), id, task_id, at,
        json_extract(record, '$.given.worst.usd'),
        coalesce(json_extract(record, '$.given.worst.tokens'), 0),
        coalesce(json_extract(record, '$.given.worst.seconds'), 0) * 1000.0
    FROM events AS open
    WHERE type = 'decision' AND json_extract(record, '$.chosen') = 'general'
"""
_STILL_OPEN = """
    AND NOT EXISTS (
        SELECT 1 FROM events AS later
        WHERE later.task_id = open.task_id AND later.id > open.id AND (
            (later.type = 'call' AND json_extract(later.record, '$.decision_id')
                = json_extract(open.record, '$.id'))
            OR (later.type = 'decision' AND json_extract(later.record, '$.previous')
                = json_extract(open.record, '$.id'))
            OR (later.type = 'result' AND json_extract(later.record, '$.status')
                NOT IN ('cancelled', 'interrupted'))
        )
    )
"""
_CALLS_THERE = (
    f"SELECT {_SPENT.format(row='', quarter=QUARTER_S)} FROM events"
    " WHERE type = 'call' AND json_extract(record, '$.role') = 'general'"
)
_CALL_NEW = (
    f"SELECT {_SPENT.format(row='NEW.', quarter=QUARTER_S)}"
    " WHERE json_extract(NEW.record, '$.role') = 'general'"
)
_ANSWERED = "DELETE FROM announced WHERE decision_id = json_extract(NEW.record, '$.{field}')"


def _on(type_: str, *statements: str) -> str:
    body = ";\n".join(statement.strip() for statement in statements)
    return (
        f"CREATE TRIGGER on_{type_} AFTER INSERT ON events WHEN NEW.type = '{type_}'"
        f" BEGIN\n{body};\nEND"
    )


def _endings_of_new(type_: str) -> list[str]:
    """Note how something of the new event's task ended, where it was not just done."""
    words = [word.format(row="NEW.") for of, word in _WORDS if of == type_]
    return [
        f"{_NOTE} SELECT word, NEW.task_id FROM (SELECT {w} AS word) {_NOT_DONE}" for w in words
    ]


def _endings_there(type_: str, word: str) -> str:
    """The same of the events that are there already."""
    words = f"SELECT {word.format(row='')} AS word, task_id FROM events WHERE type = '{type_}'"
    return f"{_NOTE} SELECT word, task_id FROM ({words}) {_NOT_DONE}"


SECOND = (
    """
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY,
        event_id INTEGER NOT NULL,
        at REAL NOT NULL,
        client TEXT NOT NULL,
        session TEXT NOT NULL,
        ended_at REAL,
        judged INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY,
        task_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        chosen TEXT NOT NULL,
        client TEXT NOT NULL,
        session TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE endings (
        word TEXT NOT NULL,
        task_id TEXT NOT NULL,
        PRIMARY KEY (word, task_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE spending (
        at INTEGER PRIMARY KEY,
        usd REAL NOT NULL,
        tokens INTEGER NOT NULL,
        ms REAL NOT NULL,
        unpriced INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE announced (
        event_id INTEGER PRIMARY KEY,
        decision_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        at REAL NOT NULL,
        usd REAL,
        tokens INTEGER NOT NULL,
        ms REAL NOT NULL
    )
    """,
    # What is there already.
    _TASK.format(
        source="SELECT task_id, id, at,",
        row="",
        tail=" FROM events WHERE type = 'task' ORDER BY id",
    ),
    # The plus signs: found by task, of whose events there are few, and not by type.
    """
    UPDATE tasks SET
        ended_at = (SELECT max(at) FROM events WHERE task_id = tasks.id AND +type = 'result'),
        judged = EXISTS (SELECT 1 FROM events WHERE task_id = tasks.id AND +type = 'judgement')
    """,
    _DECISION,
    *(_endings_there(type_, word) for type_, word in _WORDS),
    _SPEND.format(calls=_CALLS_THERE),
    _ANNOUNCE + _STILL_OPEN,
    # What comes.
    _on(
        "task",
        _TASK.format(source="VALUES (NEW.task_id, NEW.id, NEW.at,", row="NEW.", tail=")"),
    ),
    _on(
        "decision",
        f"{_DECISION.strip()} AND e.id = NEW.id",
        *_endings_of_new("decision"),
        _ANSWERED.format(field="previous"),
        f"{_ANNOUNCE.strip()} AND id = NEW.id",
    ),
    _on("call", _SPEND.format(calls=_CALL_NEW), _ANSWERED.format(field="decision_id")),
    _on(
        "result",
        "UPDATE tasks SET ended_at = NEW.at WHERE id = NEW.task_id",
        *_endings_of_new("result"),
        "DELETE FROM announced WHERE task_id = NEW.task_id AND"
        " json_extract(NEW.record, '$.status') NOT IN ('cancelled', 'interrupted')",
    ),
    _on("outcome", *_endings_of_new("outcome")),
    _on("gate", *_endings_of_new("gate")),
    _on("judgement", "UPDATE tasks SET judged = 1 WHERE id = NEW.task_id"),
    # What is asked.
    "CREATE INDEX tasks_by_event ON tasks (event_id)",
    "CREATE INDEX tasks_open ON tasks (event_id) WHERE ended_at IS NULL",
    "CREATE INDEX tasks_by_end ON tasks (ended_at, event_id) WHERE ended_at IS NOT NULL",
    "CREATE INDEX tasks_by_client ON tasks (client, event_id)",
    "CREATE INDEX endings_by_task ON endings (task_id)",
    "CREATE INDEX announced_by_decision ON announced (decision_id)",
    "CREATE INDEX announced_by_task ON announced (task_id)",
    "CREATE INDEX decisions_by_kind ON decisions (kind)",
    "CREATE INDEX decisions_by_chosen ON decisions (chosen)",
    "CREATE INDEX decisions_by_kind_and_chosen ON decisions (kind, chosen)",
    "CREATE INDEX decisions_by_client ON decisions (client)",
    "CREATE INDEX decisions_by_session ON decisions (session)",
    "CREATE INDEX decisions_by_task ON decisions (task_id)",
    f"CREATE INDEX events_told ON events (id) WHERE {TOLD}",
)
