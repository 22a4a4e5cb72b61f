# Every target runs from the checkout with its own cached environment; nothing is installed on the machine.
# PYTHON=python3.12 make ... chooses the interpreter.
PY := .ci/python
BUILD := /tmp/os-deploy-agent-build

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz hostile secrets image deb container lock clean qemu kinds

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo:  ## see the agent run a deployment on this machine
	@$(PY) examples/quickstart/demo.py

check:  ## the linters and the fast tests, for every change (under three minutes)
	@$(PY) -m pytest -m "not slow" tests/test_house.py tests/unit tests/golden

test:  ## everything: the fast tests on each Python here, a real Heat, the whole suite
	@.ci/test

bench:  ## the agent beside its peers
	@$(PY) -m benchmarks

fuzz:  ## the old tools and ours side by side on generated input (FUZZ_MINUTES=60)
	@$(PY) -m tests.tools install
	@$(PY) -m tests.fuzz --minutes $(or $(FUZZ_MINUTES),60)

hostile:  ## what outsiders may send, against every parser (HOSTILE_MINUTES=60, of the processor)
	@$(PY) -m tests.hostile --minutes $(or $(HOSTILE_MINUTES),60)

secrets:  ## twelve planted secrets through every hook and transport, with the real tools too
	@$(PY) -m tests.tools install
	@$(PY) -m pytest tests/trust/secrets.py

image:  ## build an image without a network, as root, in $(BUILD); DRY=1 tells what it would do, ELEMENTS=... chooses
	@$(if $(ELEMENTS),,DIB_ROOT_DIRECTORY=$$($(PY) -m tests.image root)) \
		$(PY) -m shipping image --build "$(BUILD)" $(if $(DRY),--dry) $(if $(FORMATS),--formats $(FORMATS)) $(ELEMENTS)

deb:  ## build a Debian package with everything in it, in $(BUILD); PYTHON_OF=3.12 for a machine with that Python
	@$(PY) -m shipping deb --build "$(BUILD)" $(if $(PYTHON_OF),--python $(PYTHON_OF))

container:  ## build an image of a container that holds the agent, tagged localhost/os-deploy-agent (ENGINE=docker, BASE=...)
	@$(PY) -m shipping container $(if $(ENGINE),--engine $(ENGINE)) $(if $(BASE),--set BASE=$(BASE))

qemu:  ## boot the image on an emulated machine and cut its power, as root (minutes)
	@$(PY) -m tests.image qemu
	@$(PY) -m pytest tests/image/qemu.py

kinds:  ## build and boot images with the agent from a checkout and from the Debian package, as root (minutes)
	@$(PY) -m tests.image install
	@$(PY) -m pytest tests/image/kinds.py

lock:  ## write .ci/locks again (LOCK=--upgrade takes the newest of everything)
	@.ci/lock $(LOCK)

clean:  ## remove what builds and tools left in the checkout
	@rm -rf .cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "environments stay in $${XDG_CACHE_HOME:-$$HOME/.cache}/os-deploy-agent"
