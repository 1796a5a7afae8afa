# `make run` and `make test` need Python 3.11 or later, make and git, nothing else.
PYTHON  ?= python3
WORKERS ?= 2
# More options of `pip install`, for the setup.
PIP_OPTIONS ?=
VENV    := .venv
BIN     := $(VENV)/bin
# Written last: an interrupted setup has no stamp and is taken up again.
STAMP   := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test test-nightly lint format types imports golden-verify goldens attack-goldens attack-models models scores scoreboard reports users-calls benchmarks change-cost pictures clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## set up .venv with everything pinned in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is missing or older than Python 3.11; name another: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[all]'
	@touch $@

run: $(STAMP) ## run the default suite on all models and leave the report in reports/runs
	$(BIN)/xai-harness run --suite default

# A worker keeps the tests of a module, whose networks it has made, until another has none left.
test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-nightly: $(STAMP) ## run the tests that are too long for every push: half an hour
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m nightly

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## check the type hints
	$(BIN)/mypy

imports: $(STAMP) ## check who imports whom
	$(BIN)/lint-imports

golden-verify: $(STAMP) ## run the port against the stored golden outputs
	$(BIN)/xai-harness golden verify

change-cost: $(STAMP) ## count the files that a new rule, kind, candidate, column or cause touches
	$(BIN)/python -m tests.change_cost.count

goldens: $(STAMP) ## record what is missing of the stored goldens: hours; needs TensorFlow
	$(BIN)/xai-harness golden record --keep --model digits-cnn
	$(BIN)/xai-harness golden record --keep --suite catalogue --form sketch --model digits-cnn --model ecg-cnn1d
	$(BIN)/xai-harness golden record --keep --suite catalogue --form sketch --model fer-xception --no-sampled
	$(BIN)/xai-harness golden record --keep --suite large --form sketch

attack-goldens: $(STAMP) ## 500 mutations of goldens, and a kill at every moment of a recording: minutes
	$(BIN)/python -m tests.golden.test_mutations
	$(BIN)/python -m tests.golden.test_crashes

models: $(STAMP) ## what loads of the networks that people have, and what comes of four methods: hours; reports/models-*.md
	$(BIN)/python -m pip install --quiet --no-deps --target build/packages timm==1.0.31 tf_keras==2.21.0 onnx2torch==1.5.15
	PYTHONPATH=build/packages $(BIN)/python -m evidence.models.torch_table
	PYTHONPATH=build/packages $(BIN)/python -m evidence.models.keras_table
	PYTHONPATH=build/packages $(BIN)/python -m evidence.models.onnx_table
	$(BIN)/python -m evidence.models.onnx_suite

attack-models: $(STAMP) ## 500 mutated and all hostile model files: a quarter of an hour; reports/attack-models.md
	$(BIN)/python -m tests.models.test_hostile_files

scores: $(STAMP) ## score every planted bug and certify the reference, in full: hours; reports/mutants.md, certification.md
	$(BIN)/xai-harness peers install innvestigate
	$(BIN)/xai-harness peers install signxai
	@status=0; \
	$(BIN)/python -m evidence.planted_bugs --healthy catalogue || status=$$?; \
	$(BIN)/python -m evidence.certification || status=$$?; \
	$(BIN)/python -m pip install --quiet --no-deps --target build/packages captum==0.9.0 tqdm; \
	PYTHONPATH=build/packages $(BIN)/python -m evidence.functions || status=$$?; \
	exit $$status

# Each beside the harness's own torch or TensorFlow; see docs/peers.md.
LIBRARIES := captum zennit-0.5 zennit-1.0 signxai2-0.13 signxai2-0.15 lrp-pf-auc lxt xplique tf-keras-vis zennit-crp
scoreboard: $(STAMP) ## other people's libraries against the reference: hours; goes on where it stopped; reports/scoreboard.md
	$(foreach library,$(LIBRARIES),$(BIN)/xai-harness peers install $(library) &&) true
	$(BIN)/python -m evidence.scoreboard
	$(BIN)/python -m evidence.scoreboard.zennit_versions
	$(BIN)/python -m evidence.scoreboard.upstream
	$(BIN)/python -m evidence.case_studies.constants
	$(BIN)/python -m evidence.case_studies --only-page

reports: $(STAMP) ## pages, pictures and index of reports/ from what is kept there: seconds, measures nothing
	$(BIN)/python -m evidence.publish

users-calls: $(STAMP) ## signxai and iNNvestigate as their users call them: hours; reports/users-calls.md
	$(BIN)/xai-harness peers install innvestigate
	$(BIN)/xai-harness peers install signxai
	$(BIN)/python -m evidence.users_calls

benchmarks: $(STAMP) ## measure against real signxai and on this machine: an hour, with nothing else running; reports/benchmarks.md
	$(BIN)/xai-harness peers install signxai
	@mkdir -p reports/benchmarks
	$(BIN)/python -m benchmarks.against_signxai --out reports/benchmarks/signxai.json
	$(BIN)/python -m benchmarks.whole_catalogue --out reports/benchmarks/whole.json
	$(BIN)/python -m benchmarks.whole_catalogue --single --out reports/benchmarks/single.json
	$(BIN)/python -m benchmarks.two_processes --out reports/benchmarks/processes.json
	$(BIN)/python -m benchmarks.growth --out reports/benchmarks/growth.json
	$(BIN)/python -m benchmarks.scale --out reports/benchmarks/scale.json
	$(BIN)/python -m benchmarks.page reports/benchmarks --measured-here

pictures: $(STAMP) ## pictures of a real run for the documentation: a minute; needs Chromium; docs/pictures
	$(BIN)/python -m tests.report.pictures

clean: ## remove .venv, caches and run reports
	rm -rf $(VENV) .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info reports/runs
