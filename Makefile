# A front for CMake. Everything lands in build/ (build-asan/, build-tsan/, build-fuzz/, build-tidy/).
JOBS ?= $(shell nproc)
# CI (which sets CI) treats warnings as errors; users' compilers may know warnings that ours does not.
WERROR := $(if $(CI),-DVIVACE_WERROR=ON)
# asan PART=1: the folders that read files from others, and their fuzz targets for a few seconds. tsan PART=1: what threads wait for (base alone).
# fuzz SECONDS=10: so long for each target.
PART_LAYERS := base;tensor;ir;ops;weights;tokenizers;image;passes
PART_TESTS := base;tensor;weights;tokenizers;image;ir
SECONDS ?= 60

.PHONY: build test lint demo asan tsan fuzz install clean packages
build:
	@cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release $(WERROR) > build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@cmake --build build -j $(JOBS)

packages:
	@tools/install_packages

test: packages build
	@tools/check_layers.py
	@cd build && ctest -j $(JOBS) --output-on-failure --no-tests=error --progress

lint:
	@tools/install_packages clang-format-14 clang-tidy-16 libomp-16-dev
	@tools/check_layers.py
	@tools/check_format.py
	@tools/check_headers
	@tools/check_tidy

demo: build
	@build/vivace sheet --from assets/emoji-sheets/a.txt --seed 100 --num-inference-steps 10 --compile default --output demo.png

asan: packages
	@cmake -S . -B build-asan -G Ninja -DVIVACE_SANITIZE=ON -DVIVACE_FUZZ=ON -DVIVACE_FUZZ_SECONDS=5 \
	  $(if $(PART),"-DVIVACE_LAYERS=$(PART_LAYERS)" "-DVIVACE_TEST_FOLDERS=$(PART_TESTS)" -DVIVACE_PROGRAM=OFF)
	@cmake --build build-asan -j $(JOBS)
	@cd build-asan && ASAN_OPTIONS=handle_sigbus=0 ctest -j $(JOBS) --output-on-failure --no-tests=error

# What several threads do at once. With one OpenMP thread a request: ThreadSanitizer does not see how GNU OpenMP's threads wait for each other, so they are
# not to meet. No address randomisation: its maps leave no room for some kernels' layouts.
TSAN_TESTS = base$(if $(PART),,;compiler;pipelines)
tsan: packages
	@cmake -S . -B build-tsan -G Ninja -DVIVACE_SANITIZE=thread "-DVIVACE_TEST_FOLDERS=$(TSAN_TESTS)" $(if $(PART),-DVIVACE_LAYERS=base -DVIVACE_PROGRAM=OFF)
	@cmake --build build-tsan -j $(JOBS) --target $(patsubst %,test_%,$(subst ;, ,$(TSAN_TESTS)))
	@for test in $(subst ;, ,$(TSAN_TESTS)); do OMP_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1 setarch -R build-tsan/tests/$$test/test_$$test \
	  --gtest_filter='Turns.*:Request*.*:SessionPools.*:-*KernelsRunOnTheThreads*' || exit 1; done

fuzz:
	@tools/install_packages clang-16 libclang-rt-16-dev libomp-16-dev
	@cmake -S . -B build-fuzz -G Ninja -DVIVACE_FUZZ=ON -DVIVACE_TESTS=OFF -DVIVACE_SANITIZE=ON -DVIVACE_FUZZ_SECONDS=$(SECONDS) -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
	  -DCMAKE_CXX_COMPILER=clang++-16
	@cmake --build build-fuzz -j $(JOBS) --target fuzz

install: build
	@cmake --install build

clean:
	@rm -rf build build-asan build-tsan build-fuzz build-tidy
