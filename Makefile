# Everything a new user types. Each target prepares .venv first (seconds when it is ready).
SHELL := /bin/bash
BIN := .venv/bin
# Discovery and logs of the tests stay on this machine and in the build folder.
TEST_ENV := ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_LOG_DIR=$(CURDIR)/build/ros_log OMP_NUM_THREADS=1
PYTEST_ARGS ?=
# Tests that only compute, two at a time; the others are about real time and have the machine for themselves.
COMPUTING := $(addprefix tests/,architecture dp_benchmark dp_core dp_dataset dp_policy dp_trainer)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint doctor lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  PYTHON=python3.12 make setup chooses the interpreter; make demo ARGS="--quick" passes arguments on.'

setup:  ## Create .venv, install the pinned packages, compile dp_msgs (skips what is done)
	@bash tools/setup.sh

demo: setup  ## Record, train, deploy and score on the simulated Franka (ARGS="--task reach_around --quick")
	@$(BIN)/dp demo $(ARGS)

test: setup  ## Run all tests, the miniature loop over real DDS included (PYTEST_ARGS="-k core")
ifeq ($(strip $(PYTEST_ARGS)),)
	@failed=0; $(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile $(COMPUTING) || failed=1; \
	$(TEST_ENV) $(BIN)/python -m pytest $(addprefix --ignore=,$(COMPUTING)) || failed=1; exit $$failed
else
	@$(TEST_ENV) $(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: setup  ## Style and type checks
	@$(BIN)/ruff check src tests launch tools
	@$(BIN)/mypy src

doctor: setup  ## Check this machine and say what each missing thing costs
	@$(BIN)/dp doctor $(ARGS)

lock: setup  ## Rewrite constraints.txt from what .venv holds
	@$(BIN)/python tools/lock.py

clean:  ## Remove .venv and everything built (recordings under runs/ stay)
	rm -rf .venv build install log ros2_ws/build ros2_ws/install ros2_ws/log src/*.egg-info
