"""BFCL's own checker, run by the peers' Python: ``python bfcl_check.py`` reads JSON lines.

Each line is ``{category, functions, call: {name, arguments}, answers}``; for each, one line with
``true`` or ``false`` goes out. The checker imports every vendor's handlers for one flag of one
table, and the parsers of languages that are not asked about: empty modules stand in for them.
"""

from __future__ import annotations

import json
import sys
import types
from collections import defaultdict
from typing import Any


def stand_in(name: str, **contents: Any) -> None:
    module = types.ModuleType(name)
    for key, value in contents.items():
        setattr(module, key, value)
    sys.modules[name] = module


def main() -> None:
    config: defaultdict[str, types.SimpleNamespace]
    config = defaultdict(lambda: types.SimpleNamespace(underscore_to_dot=False))
    convertors = "bfcl_eval.eval_checker.ast_eval.type_convertor"
    stand_in("bfcl_eval.constants.model_config", MODEL_CONFIG_MAPPING=config)
    stand_in(f"{convertors}.java_type_converter", java_type_converter=None)
    stand_in(f"{convertors}.js_type_converter", js_type_converter=None)
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    for line in sys.stdin:
        row = json.loads(line)
        call = row["call"]
        verdict = ast_checker(
            row["functions"],
            [{call["name"]: call["arguments"]}],
            row["answers"],
            Language.PYTHON,
            row["category"],
            "aidecamp",
        )
        print(json.dumps(bool(verdict["valid"])), flush=True)


if __name__ == "__main__":
    main()
