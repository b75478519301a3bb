# Long proofs, each in a guest and with a closing line of its own; docs/proof.md says what each proves.
PROOF_TOOLS := $(STAMPS)/packages-build build
PROVE = @scripts/install-packages vm && test/vm/kernels/fetch $(KERNEL) && $(1) test/proof/run $(KERNEL) $(2)

.PHONY: test-crash
test-crash: $(PROOF_TOOLS) ## SIGKILL of the engine under load, at random and at named points: KERNEL=uml|6.12|6.18|7.3 KILLS=n NAMED=yes|no
	$(call say,Killing engines on kernel $(KERNEL))
	$(call PROVE,UBLK_KILLS=$(or $(KILLS),$(if $(filter uml,$(KERNEL)),1000,50)) UBLK_NAMED=$(or $(NAMED),yes) PROOF_LIMIT_S=7200,crash)

.PHONY: test-power-failure
test-power-failure: $(PROOF_TOOLS) ## the power fails under the pool's disk at many points of a load: POINTS=n POOL_FS=xfs|ext4
	$(call say,Letting the power fail)
	@scripts/install-packages vm && test/vm/kernels/fetch uml
	@status=0; for kind in $(or $(POOL_FS),xfs ext4); do \
	  UBLK_POOL_FS=$$kind UBLK_POINTS=$(or $(POINTS),40) PROOF_DISKS_MB='512 3000 512 512' PROOF_LIMIT_S=1800 \
	    test/proof/run uml power-failure || status=1; \
	done; exit $$status

.PHONY: test-tsan
test-tsan: $(STAMPS)/packages-build $(CACHE)/uapi/usr/include/linux/ublk_cmd.h ## the engine's native tests under ThreadSanitizer
	$(call say,Native tests under ThreadSanitizer)
	@$(MAKE) -C native test VARIANT=tsan RESULTS=$(CURDIR)/$(RESULTS)

FUZZ_SECONDS := $(or $(filter-out 0,$(SECONDS)),60)

.PHONY: fuzz
fuzz: $(STAMPS)/packages-build $(STAMPS)/gen ## parsers of bytes from outside, in C++ and in TypeScript: SECONDS=n for each
	$(call say,Fuzzing)
	@scripts/install-packages fuzz
	@$(MAKE) -C native fuzz SECONDS=$(FUZZ_SECONDS)
	@NODE_OPTIONS='--experimental-vm-modules --no-warnings' $(NPX)/jest fuzz.test --testTimeout=3600000 --silent \
	  --globals '{"fuzzSeconds": $(FUZZ_SECONDS)}'

.PHONY: test-hand-over
test-hand-over: $(PROOF_TOOLS) ## devices handed from engine to engine under load: KERNEL=uml|6.12|6.18|7.3 COUNT=n
	$(call say,Handing over on kernel $(KERNEL))
	$(call PROVE,UBLK_HAND_OVERS=$(or $(COUNT),$(if $(filter uml,$(KERNEL)),500,20)) PROOF_LIMIT_S=7200,hand-over)

.PHONY: test-stress
test-stress: $(PROOF_TOOLS) ## hundreds of devices at once, a thousand cycles, little memory; what idle devices hold: KERNEL=...
	$(call say,Stress on kernel $(KERNEL))
	$(call PROVE,PROOF_LIMIT_S=3600,stress)
	$(call PROVE,PROOF_MEMORY_MB=512 PROOF_LIMIT_S=1800,memory-pressure)

.PHONY: test-reboot
test-reboot: $(PROOF_TOOLS) ## a node with volumes of each kind loses its power, and is shut down: KERNEL=uml|6.12|6.18|7.3
	$(call say,Booting again and again on kernel $(KERNEL))
	$(call PROVE,PROOF_BOOTS=3 PROOF_LIMIT_S=1800,reboot)

.PHONY: test-csi-model
test-csi-model: $(PROOF_TOOLS) ## random calls and deaths of the driver beside a model: KERNEL=uml|6.12|6.18|7.3 SEQUENCES=n SEED=n
	$(call say,Comparing the driver with a model on kernel $(KERNEL))
	$(call PROVE,UBLK_SEQUENCES=$(or $(SEQUENCES),100) UBLK_SEED=$(SEED) PROOF_LIMIT_S=7200,csi-model)

.PHONY: test-csi-fail-points
test-csi-fail-points: build ## the driver dies at every step of every RPC that changes something: KERNEL=uml|6.12|6.18|7.3 RPC=name
	$(call say,Letting the driver die at every step on kernel $(KERNEL))
	@scripts/install-packages vm && test/vm/kernels/fetch $(KERNEL)
	@UBLK_FAIL_POINTS=all UBLK_EVERY=1 UBLK_RPC=$(RPC) test/vm/run-suites $(KERNEL) csi-fail-points
