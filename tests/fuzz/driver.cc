// Stands in for libFuzzer where the compiler is not clang: the seeds, then seeds changed at random for -max_total_time seconds, always the same ones
// in the same order. It does not see what an input reaches, so it finds less. An input that fails is left in <program>-crash.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

namespace fs = std::filesystem;

std::string current, crash_file;

void save() {
  if (std::FILE* file = std::fopen(crash_file.c_str(), "wb")) {
    std::fwrite(current.data(), 1, current.size(), file);
    std::fclose(file);
    std::fprintf(stderr, "the input is in %s\n", crash_file.c_str());
  }
}

void run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
}

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> seeds) : seeds_(std::move(seeds)) { seeds_.emplace_back(); }

  std::string operator()() {
    std::string input = seeds_[below(seeds_.size())];
    for (size_t change = below(8) + 1; change > 0; --change) mutate(input);
    return input;
  }

 private:
  size_t below(size_t n) { return random_() % n; }
  char byte() {
    constexpr std::string_view kTelling("\0\x01\x7f\x80\xff\"\\{}[],:0-19.e\n ", 22);
    return below(2) ? static_cast<char>(random_()) : kTelling[below(kTelling.size())];
  }
  void mutate(std::string& input) {
    const size_t at = below(input.size() + 1), length = below(std::min<size_t>(input.size() - at, 64) + 1);
    switch (below(6)) {
      case 0:
        input.erase(at, length);
        break;
      case 1:
        input.insert(at, input.substr(at, length));
        break;
      case 2: {
        const std::string& other = seeds_[below(seeds_.size())];
        input.insert(at, other.substr(below(other.size() + 1), 64));
        break;
      }
      case 3:
        for (size_t i = below(16) + 1; i > 0; --i) input.insert(at, 1, byte());
        break;
      default:
        if (at < input.size()) input[at] = byte();
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  double seconds = 1;
  std::vector<std::string> seeds;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (constexpr std::string_view kTime = "-max_total_time="; argument.starts_with(kTime)) {
      seconds = std::atof(argv[i] + kTime.size());
    } else if (fs::is_directory(argument)) {
      for (const auto& entry : fs::directory_iterator(argument)) {
        std::ifstream file(entry.path(), std::ios::binary);
        if (entry.is_regular_file()) seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
      }
    }
  }
  crash_file = fs::path(argv[0]).filename().string() + "-crash";
  if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(save);
  std::signal(SIGABRT, [](int) { save(); });
  for (const std::string& seed : seeds) run(seed);
  Mutator mutated(seeds);
  size_t runs = seeds.size();
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (; std::chrono::steady_clock::now() < end; ++runs) run(mutated());
  std::printf("%zu inputs in %.0f s\n", runs, seconds);
}
