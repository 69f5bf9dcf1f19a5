# A front for CMake. Everything lands in build/ (build-asan/, build-tsan/, build-fuzz/, build-tidy/).
JOBS ?= $(shell nproc)
# CI (which sets CI) treats warnings as errors; users' compilers may know warnings that ours does not.
WERROR := $(if $(CI),-DVIVACE_WERROR=ON)
# PART=1: what `make test` runs, in folders below build/. asan: the fuzz targets of what reads files, forms and HTTP, their seeds and two seconds of changed
# ones each. tsan: what several threads do at once, without models. fuzz SECONDS=10: so long for each target.
ASAN_LAYERS := base;tensor;tokenizers;image
ASAN_TARGETS := json safetensors gguf tokenizer picture form http
TSAN_LAYERS := base;tensor;ir;ops;runtime
# Where a kernel randomises more bits of addresses than GCC's sanitizers have room for.
NOT_RANDOM := $(shell setarch -R true 2>/dev/null && echo setarch -R)
SECONDS ?= 60

# UNITY=OFF: each file alone, where little is compiled again after a change.
UNITY ?= ON

.PHONY: build test lint demo asan tsan fuzz install clean packages
build:
	@cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIVACE_UNITY=$(UNITY) $(WERROR) > build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@cmake --build build -j $(JOBS)

packages:
	@tools/install_packages

test: packages build
	@tools/check_layers.py
	@tools/check_unity.py
	@cd build && ctest -j $(JOBS) --output-on-failure --no-tests=error --progress
	@$(MAKE) --no-print-directory -j2 --output-sync asan tsan PART=1

lint:
	@tools/install_packages clang-format-14 clang-tidy-16 libomp-16-dev
	@tools/check_layers.py
	@tools/check_format.py
	@tools/check_headers
	@tools/check_tidy

demo: build
	@build/vivace sheet --from assets/emoji-sheets/a.txt --seed 100 --num-inference-steps 10 --compile default --output demo.png

SANITIZED := -G Ninja -DVIVACE_SANITIZE=ON -DVIVACE_FUZZ=ON
asan: packages
ifdef PART
	@mkdir -p build/asan
	@cmake -S . -B build/asan $(SANITIZED) -DVIVACE_SANITIZE_LEVEL=0 -DVIVACE_UNITY=$(UNITY) -DVIVACE_FUZZ_SECONDS=2 "-DVIVACE_LAYERS=$(ASAN_LAYERS)" -DVIVACE_TESTS=OFF -DVIVACE_PROGRAM=OFF \
	  > build/asan/cmake.log 2>&1 || { cat build/asan/cmake.log; exit 1; }
	@$(NOT_RANDOM) cmake --build build/asan -j $(JOBS) --target $(ASAN_TARGETS:%=run_fuzz_%)
else
	@cmake -S . -B build-asan $(SANITIZED) -DVIVACE_FUZZ_SECONDS=5
	@cmake --build build-asan -j $(JOBS)
	@cd build-asan && ASAN_OPTIONS=handle_sigbus=0 $(NOT_RANDOM) ctest -j $(JOBS) --output-on-failure --no-tests=error
endif

# With one OpenMP thread a request: ThreadSanitizer does not see how GNU OpenMP's threads wait for each other, so they are not to meet.
TSAN_TESTS := threads$(if $(PART),,;compiler;pipelines)
tsan: FOLDER := $(if $(PART),build/tsan,build-tsan)
tsan: packages
	@mkdir -p $(FOLDER)
	@cmake -S . -B $(FOLDER) -G Ninja -DVIVACE_SANITIZE=thread "-DVIVACE_TEST_FOLDERS=$(TSAN_TESTS)" \
	  $(if $(PART),-DVIVACE_SANITIZE_LEVEL=0 -DVIVACE_UNITY=$(UNITY) "-DVIVACE_LAYERS=$(TSAN_LAYERS)" -DVIVACE_PROGRAM=OFF) > $(FOLDER)/cmake.log 2>&1 || { cat $(FOLDER)/cmake.log; exit 1; }
	@cmake --build $(FOLDER) -j $(JOBS) --target $(patsubst %,test_%,$(subst ;, ,$(TSAN_TESTS)))
	@for test in $(subst ;, ,$(TSAN_TESTS)); do OMP_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1 $(NOT_RANDOM) $(FOLDER)/tests/$$test/test_$$test \
	  --gtest_brief=1 --gtest_filter='Turns.*:Request*.*:SessionPools.*:-*KernelsRunOnTheThreads*' || exit 1; done

fuzz:
	@tools/install_packages clang-16 libclang-rt-16-dev libomp-16-dev
	@cmake -S . -B build-fuzz -G Ninja -DVIVACE_FUZZ=ON -DVIVACE_TESTS=OFF -DVIVACE_SANITIZE=ON -DVIVACE_FUZZ_SECONDS=$(SECONDS) -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON \
	  -DCMAKE_CXX_COMPILER=clang++-16
	@cmake --build build-fuzz -j $(JOBS) --target fuzz

install: build
	@cmake --install build

clean:
	@rm -rf build build-asan build-tsan build-fuzz build-tidy
