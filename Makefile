# make run    set up (the first time takes minutes: llama.cpp is built), then the demonstration
# make test   set up with the development tools, then every check
# make setup  set up alone            make llama  build llama.cpp again for this machine
# make clean  remove what was built here; pulled models stay (aidecamp models rm removes them)

.PHONY: run test setup llama clean

run:
	@.ci/setup run
	@.venv/bin/aidecamp demo

test:
	@.ci/setup test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/pytest

setup:
	@.ci/setup run

llama:
	@.ci/setup llama

clean:
	rm -rf .venv .venv-* models/native/build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find models quantize runtime tui tests -name __pycache__ -type d -prune -exec rm -rf {} +
