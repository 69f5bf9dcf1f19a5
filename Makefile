# A front for CMake. Everything lands in build/ (build-asan/, build-fuzz/).
JOBS ?= $(shell nproc)

.PHONY: build test demo asan fuzz install clean packages
build:
	@cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release > build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@cmake --build build -j $(JOBS)

packages:
	@tools/install_packages

test: packages build
	@tools/check_layers.py
	@cd build && ctest -j $(JOBS) --output-on-failure --no-tests=error --progress

demo: build
	@build/vivace sheet --from assets/emoji-sheets/a.txt --seed 100 --num-inference-steps 10 --compile default --output demo.png

asan: packages
	@cmake -S . -B build-asan -G Ninja -DVIVACE_SANITIZE=ON
	@cmake --build build-asan -j $(JOBS)
	@cd build-asan && ctest -j $(JOBS) --output-on-failure --no-tests=error

fuzz:
	@tools/install_packages clang-16 libclang-rt-16-dev libomp-16-dev
	@cmake -S . -B build-fuzz -G Ninja -DVIVACE_FUZZ=ON -DVIVACE_TESTS=OFF -DVIVACE_SANITIZE=ON -DCMAKE_CXX_COMPILER=clang++-16
	@cmake --build build-fuzz -j $(JOBS) --target fuzz

install: build
	@cmake --install build

clean:
	@rm -rf build build-asan build-fuzz
