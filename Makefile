# Each verb is short, because scripts/ and tests/ do the work. Every verb does its own set-up.

ARCHITECTURE ?= x86_64

environments = @python=$$(scripts/find-python) && "$$python" scripts/environments.py
python = .venv/bin/python
# Run one after the other if make is too old to keep the outputs of several apart.
side_by_side = $(if $(filter output-sync,$(.FEATURES)),--jobs=2 --output-sync=target)

.PHONY: help demo test lint test-unit test-terraform test-integration bench package format lock upgrade clean
.PHONY: environments development unit-environments checkov docs setup-port check-port run doctor quick-tests

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s%s\n", $$1, $$2 }' Makefile

demo: environments package ## watch one run travel from Port through Kafka and Lambda and back (OPTIONS=--stay)
	@$(python) -m scripts.demo $(OPTIONS)

setup-port: ## create or update blueprint and action in Port (OPTIONS=--dry-run shows the difference only)
	@scripts/port-runner setup $(OPTIONS)

check-port: ## show where Port's actions and the handlers disagree
	@scripts/port-runner check $(OPTIONS)

run: ## execute an action in Port and follow it: make run ACTION=create_vm OPTIONS='--input cpu=2 …'
	@scripts/port-runner run $(ACTION) $(OPTIONS)

doctor: ## find out why no record arrives at the function (OPTIONS='--function NAME')
	@scripts/port-runner doctor $(OPTIONS)

test: environments package ## run lint and the unit, Terraform and integration tests in parallel
	@echo "The integration tests run in parallel with the others. The output of each kind is printed when it has ended."
	@$(MAKE) --no-print-directory --keep-going $(side_by_side) test-integration quick-tests

lint: development ## ruff, mypy, import-linter, the English, Terraform, the module's tables, the workflow
	.venv/bin/ruff check lambda cli sandbox scripts tests
	.venv/bin/ruff format --check lambda cli sandbox scripts tests
	.venv/bin/mypy
	.venv/bin/lint-imports
	@$(python) -m scripts.english
	@$(python) -m scripts.terraform_checks lint
	@$(python) -m scripts.terraform_docs --check
	.venv/bin/actionlint -shellcheck= -pyflakes=
	.venv/bin/zizmor --offline --quiet .github/workflows

quick-tests:
	@$(MAKE) --no-print-directory --keep-going --jobs=1 lint test-terraform test-unit

test-unit: unit-environments ## run the unit tests
	@$(python) -m pytest tests/unit --numprocesses=auto --dist=loadfile

test-terraform: development package ## run the module's own tests
	@$(python) -m scripts.terraform_checks test

test-integration: environments package ## apply the module to the sandbox and test runs end to end
	@$(python) -m pytest tests/integration

checkov: ## look for unsafe settings in terraform/ (the pipeline runs it with lint)
	$(environments) checkov
	.venv-checkov/bin/checkov --directory terraform --framework terraform --skip-download --compact --quiet

bench: unit-environments package ## measure cold start, runs, batches, decoding and memory (OPTIONS=--help shows the options)
	@$(python) -m scripts.bench $(OPTIONS)

package: development ## build dist/function.zip and dist/layer-x86_64.zip (ARCHITECTURE=arm64 or all)
	@$(python) -m scripts.package --architecture $(ARCHITECTURE)

docs: development ## write the tables of terraform/README.md
	@$(python) -m scripts.terraform_docs

format: development ## format the code with ruff and terraform
	.venv/bin/ruff check --fix lambda cli sandbox scripts tests
	.venv/bin/ruff format lambda cli sandbox scripts tests
	terraform fmt -recursive terraform

lock: development ## compile requirements/*.in after a change, keeping versions that still fit
	@scripts/lock

upgrade: development ## compile requirements/*.in to the newest versions
	@scripts/lock --upgrade

clean: ## remove everything that was built here: zips, environments, caches
	rm -rf dist .venv .venv-localstack .venv-runtime .venv-old-kafka .venv-checkov .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find lambda cli sandbox scripts tests -name __pycache__ -exec rm -rf {} +

environments:
	$(environments) dev localstack runtime old-kafka

development:
	$(environments) dev

unit-environments:
	$(environments) dev runtime old-kafka
